"""Basic and token authentication, one token for each scope.

Source: distribution/distribution, "Token Authentication Specification"; RFC 9110, section 11.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_dict_header

from runbake.errors import RegistryAuthError
from runbake.registry.credentials import Credentials
from runbake.registry.failure import error_of, redacted_url

_DEFAULT_LIFE_S = 60.0
_EARLY_S = 10.0
_TIMEOUT_S = (10.0, 60.0)


class NoAuth(AuthBase):
    """Sends nothing, also where a .netrc would."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Leave the request as it is."""
        return request


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    auth: AuthBase
    until: float


class Authenticator:
    """Answers a registry's challenges and remembers what it was granted.

    `clock` gives seconds that only grow. Safe to use from several threads.
    """

    def __init__(
        self,
        session: requests.Session,
        credentials: Callable[[], Credentials | None],
        clock: Callable[[], float],
    ) -> None:
        self._session, self._credentials, self._clock = session, credentials, clock
        self._grants: dict[str, _Grant] = {}
        self._lock = threading.Lock()

    def auth_for(self, scope: str) -> AuthBase:
        """What to send for a scope: what was granted and still holds, else nothing."""
        grant = self._grants.get(scope)
        return grant.auth if grant and grant.until > self._clock() else NoAuth()

    def answer(self, response: requests.Response, scope: str) -> bool:
        """Meet the challenge of a 401; False when there is nothing to meet it with.

        Raises:
            RegistryAuthError: the token service refuses.
        """
        scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
        with self._lock:
            self._grants.pop(scope, None)
            if scheme.lower() == "basic":
                return self._basic(scope)
            if scheme.lower() == "bearer":
                challenge = parse_dict_header(rest)  # type: ignore[no-untyped-call]
                return self._bearer(challenge, scope, response)
        return False

    def _basic(self, scope: str) -> bool:
        found = self._credentials()
        if found is None:
            return False
        auth = HTTPBasicAuth(found.username, found.password.reveal())
        self._grants[scope] = _Grant(auth=auth, until=float("inf"))
        return True

    def _bearer(self, challenge: dict[str, str | None], scope: str, response: requests.Response) -> bool:
        realm = challenge.get("realm") or ""
        if urlsplit(realm).scheme != "https" and urlsplit(response.url).scheme == "https":
            raise RegistryAuthError(
                f"{redacted_url(response.url)} sends credentials to a token service without TLS: "
                + redacted_url(realm)
            )
        asked = sorted({*scope.split(), *(challenge.get("scope") or "").split()} - {""})
        answer = self._token(realm, challenge.get("service") or "", asked)
        if answer.status_code != 200:
            raise error_of("token", answer)
        document = answer.json()
        token = document.get("token") or document.get("access_token")
        if not token:
            raise RegistryAuthError(f"the token service {redacted_url(realm)} gave no token")
        life = float(document.get("expires_in") or _DEFAULT_LIFE_S)
        until = self._clock() + max(life - _EARLY_S, life / 2)
        self._grants[scope] = _Grant(auth=_Bearer(str(token)), until=until)
        return True

    def _token(self, realm: str, service: str, scopes: list[str]) -> requests.Response:
        found = self._credentials()
        if found is not None and found.identity_token:
            return self._session.post(
                realm,
                data={
                    "grant_type": "refresh_token",
                    "refresh_token": found.password.reveal(),
                    "service": service,
                    "scope": " ".join(scopes),
                    "client_id": "runbake",
                },
                auth=NoAuth(),
                timeout=_TIMEOUT_S,
            )
        basic = HTTPBasicAuth(found.username, found.password.reveal()) if found else NoAuth()
        query = {"service": service, "scope": scopes}
        return self._session.get(realm, params=query, auth=basic, timeout=_TIMEOUT_S)
