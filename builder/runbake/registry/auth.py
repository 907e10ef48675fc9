"""Basic and token authentication, one token for each scope.

Source: distribution/distribution, "Token Authentication Specification"; RFC 9110, section 11.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_dict_header

from runbake.errors import RegistryAuthError
from runbake.registry.credentials import Credentials, Secret
from runbake.registry.failure import Temporary, failure_of, is_permanent, redacted_url, unreachable

_DEFAULT_LIFE_S = 60.0
_EARLY_S = 10.0
_TIMEOUT_S = (10.0, 60.0)
_NO_POST = (404, 405)
"""What token services answer that know only GET."""

_CHALLENGE = re.compile(r"(?:^|,\s*)(basic|bearer)(?:\s+(?=\w+=)|\s*$|\s*,)", re.IGNORECASE)


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
class _Challenge:
    """Where a registry sends its clients for a token."""

    realm: str
    service: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    auth: AuthBase
    challenge: _Challenge
    until: float


class Authenticator:
    """Answers a registry's challenges and remembers what it was granted.

    `host` is the registry's name as the user writes it, `clock` gives seconds that only grow. Safe to use
    from several threads.
    """

    def __init__(
        self,
        session: requests.Session,
        host: str,
        credentials: Callable[[], Credentials | None],
        clock: Callable[[], float],
    ) -> None:
        self._session, self._host, self._credentials, self._clock = session, host, credentials, clock
        self._basic: HTTPBasicAuth | None = None
        self._grants: dict[str, _Grant] = {}
        self._lock = threading.Lock()

    def auth_for(self, scope: str) -> AuthBase:
        """What to send for a scope: what was granted, renewed when it is about to end, else nothing.

        Renewed in advance, because a refusal costs more when it comes after a large body.
        """
        with self._lock:
            grant = self._grants.get(scope)
            if grant is None:
                return self._basic or NoAuth()
            if grant.until <= self._clock():
                grant = self._granted(grant.challenge, scope)
            return grant.auth

    def answer(self, response: requests.Response, scope: str, sent: AuthBase) -> bool:
        """Meet the challenge of a 401 to a request sent with `sent`; False when nothing new can be sent.

        Raises:
            RegistryAuthError: the token service refuses.
            Temporary: the token service is out of order.
        """
        challenges = _challenges(response.headers.get("WWW-Authenticate", ""))
        with self._lock:
            if self._is_renewed(scope, sent):
                return True
            if "bearer" in challenges:
                self._granted(self._checked(challenges["bearer"], scope, response), scope)
                return True
            return "basic" in challenges and self._use_basic(sent)

    def _is_renewed(self, scope: str, sent: AuthBase) -> bool:
        # Another thread met the same challenge while this one waited.
        grant = self._grants.get(scope)
        now = grant.auth if grant is not None else self._basic
        return now is not None and now != sent

    def _use_basic(self, sent: AuthBase) -> bool:
        found = self._credentials()
        if found is None:
            return False
        self._basic = _basic(found)
        # The same password again would only bring an account closer to being locked.
        return self._basic != sent

    def _checked(
        self, challenge: dict[str, str | None], scope: str, response: requests.Response
    ) -> _Challenge:
        realm = challenge.get("realm") or ""
        if urlsplit(realm).scheme not in ("http", "https"):
            raise RegistryAuthError(f"{self._host} names no token service: {redacted_url(realm)!r}")
        if urlsplit(realm).scheme != "https" and urlsplit(response.url).scheme == "https":
            raise RegistryAuthError(
                f"{redacted_url(response.url)} sends credentials to a token service without TLS: "
                + redacted_url(realm)
            )
        asked = {*scope.split(), *(challenge.get("scope") or "").split()}
        return _Challenge(realm=realm, service=challenge.get("service") or "", scopes=tuple(sorted(asked)))

    def _granted(self, challenge: _Challenge, scope: str) -> _Grant:
        document = self._token_document(challenge)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str):
            raise RegistryAuthError(f"the token service {redacted_url(challenge.realm)} gave no token")
        life = document.get("expires_in")
        life_s = float(life) if isinstance(life, int | float) and life > 0 else _DEFAULT_LIFE_S
        until = self._clock() + max(life_s - _EARLY_S, life_s / 2)
        self._grants[scope] = grant = _Grant(auth=_Bearer(token), challenge=challenge, until=until)
        return grant

    def _token_document(self, challenge: _Challenge) -> dict[str, object]:
        try:
            answer = self._token(challenge)
        except requests.RequestException as error:
            failed = unreachable("token", challenge.realm, error, sending=False)
            raise failed if is_permanent(error) else Temporary(failed) from error
        if answer.status_code != 200:
            raise failure_of("token", answer, self._host)
        try:
            document = answer.json()
        except requests.JSONDecodeError:
            # Not `from` it: the decoder's error quotes the answer.
            document = None
        return document if isinstance(document, dict) else {}

    def _token(self, challenge: _Challenge) -> requests.Response:
        found = self._credentials()
        if found is None:
            return self._requested(challenge, NoAuth())
        if not found.identity_token:
            return self._requested(challenge, _basic(found))
        answer = self._exchanged(challenge, found.password)
        if answer.status_code in _NO_POST:
            # As containerd does: the token is the password of a user without a name.
            return self._requested(challenge, HTTPBasicAuth("", found.password.reveal().encode()))
        return answer

    def _requested(self, challenge: _Challenge, auth: AuthBase) -> requests.Response:
        return self._session.get(
            challenge.realm,
            params={"service": challenge.service, "scope": challenge.scopes},
            auth=auth,
            timeout=_TIMEOUT_S,
        )

    def _exchanged(self, challenge: _Challenge, refresh_token: Secret) -> requests.Response:
        return self._session.post(
            challenge.realm,
            data={
                "grant_type": "refresh_token",
                "refresh_token": refresh_token.reveal(),
                "service": challenge.service,
                "scope": " ".join(challenge.scopes),
                "client_id": "runbake",
            },
            auth=NoAuth(),
            timeout=_TIMEOUT_S,
            # A redirected form would carry the refresh token to wherever it points.
            allow_redirects=False,
        )


def _basic(found: Credentials) -> HTTPBasicAuth:
    # Bytes, because requests would send text as latin-1.
    return HTTPBasicAuth(found.username.encode(), found.password.reveal().encode())


def _challenges(header: str) -> dict[str, dict[str, str | None]]:
    """The challenges of a WWW-Authenticate header, by scheme in lower case."""
    found = list(_CHALLENGE.finditer(header))
    ends = [*(match.start() for match in found), len(header)][1:]
    return {
        match[1].lower(): parse_dict_header(header[match.end() : end])  # type: ignore[no-untyped-call]
        for match, end in zip(found, ends, strict=False)
    }
