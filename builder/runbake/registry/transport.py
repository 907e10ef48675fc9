"""One request to a registry: authenticated, retried while that helps, failed with a clear error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from runbake.errors import RegistryUnreachable
from runbake.registry.auth import Authenticator, NoAuth
from runbake.registry.credentials import Credentials
from runbake.registry.failure import error_of, is_full, redacted_url
from runbake_serving.contract import VERSION

_log = logging.getLogger(__name__)

ATTEMPTS = 6
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S = 60.0
_TIMEOUT_S = (10.0, 300.0)
_AUTH_ROUNDS = 2
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request body that can be sent again: each `open` starts at the first byte."""

    size_bytes: int
    open: Callable[[], BinaryIO]
    progress: Callable[[int], None] | None = None


class _Sent:
    """The body of one attempt, in the form that requests streams with a Content-Length."""

    def __init__(self, body: Body) -> None:
        self._stream, self._body = body.open(), body

    def __len__(self) -> int:
        return self._body.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        # requests takes an iterable for a stream; what is sent comes through `read`.
        while chunk := self.read():
            yield chunk

    def read(self, _size: int = 0) -> bytes:
        # urllib3 asks for 16 KiB at a time, which costs more than the sending.
        chunk = self._stream.read(_CHUNK_BYTES)
        if chunk and self._body.progress is not None:
            self._body.progress(len(chunk))
        return chunk

    def close(self) -> None:
        self._stream.close()


class _Temporary(Exception):
    """An attempt that may go better next time."""

    def __init__(self, problem: str, response: requests.Response | None) -> None:
        super().__init__(problem)
        self.response = response


class Transport:
    """Requests to one registry host."""

    def __init__(
        self,
        base_url: str,
        credentials: Callable[[], Credentials | None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url, self._sleep = base_url, sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"runbake/{VERSION}"
        # A registry's cookie would tie parallel uploads to one upload session's server.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._authenticator = Authenticator(self._session, credentials, clock)

    def request(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        ok: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        stream: bool = False,
        retry: bool = True,
    ) -> requests.Response:
        """Send one request and return an answer whose status is in `ok`.

        `url` may be relative to the host. A 401 is met with credentials; temporary failures are repeated
        up to `ATTEMPTS` times, later each time, or after what the registry asks for.

        Raises:
            RegistryUnreachable: no answer, after all attempts.
            RegistryAuthError, ManifestNotFound, RegistryError: an answer that is not in `ok`.
        """
        absolute = urljoin(self._base_url, url)
        try:
            for attempt in self._attempts(retry):
                with attempt:
                    response = self._authenticated(method, absolute, scope, dict(headers or {}), body, stream)
                    if response.status_code in _TEMPORARY - set(ok) and not is_full(response):
                        raise _Temporary(f"answered {response.status_code}", response)
            if response.status_code not in ok:
                raise error_of(method, response)
        except _Temporary as last:
            if last.response is not None:
                raise error_of(method, last.response) from last
            raise RegistryUnreachable(
                f"{method} {redacted_url(absolute)}: {last}",
                hint=f"is the registry at {urlsplit(absolute).netloc} up, and the address right? "
                "plain http is used for loopback hosts only",
            ) from last
        return response

    def _attempts(self, retry: bool) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(ATTEMPTS if retry else 1),
            wait=self._wait,
            retry=retry_if_exception_type(_Temporary),
            sleep=self._sleep,
            before_sleep=_tell,
            reraise=True,
        )

    def _wait(self, state: RetryCallState) -> float:
        usual: float = wait_random_exponential(multiplier=0.2, max=10)(state)
        failure = state.outcome.exception() if state.outcome else None
        response = failure.response if isinstance(failure, _Temporary) else None
        asked = _retry_after(response.headers.get("Retry-After", "")) if response is not None else None
        return min(asked, _LONGEST_WAIT_S) if asked is not None else usual

    def _authenticated(
        self,
        method: str,
        url: str,
        scope: str,
        headers: dict[str, str],
        body: Body | bytes | None,
        stream: bool,
    ) -> requests.Response:
        for _ in range(_AUTH_ROUNDS):
            response = self._sent(method, url, scope, headers, body, stream)
            if response.status_code != 401 or not self._ours(url):
                return response
            if not self._authenticator.answer(response, scope):
                return response
        return self._sent(method, url, scope, headers, body, stream)

    def _ours(self, url: str) -> bool:
        # An upload may be sent to another host, which must not see our credentials.
        return urlsplit(url)[:2] == urlsplit(self._base_url)[:2]

    def _sent(
        self,
        method: str,
        url: str,
        scope: str,
        headers: dict[str, str],
        body: Body | bytes | None,
        stream: bool,
    ) -> requests.Response:
        auth = self._authenticator.auth_for(scope) if self._ours(url) else NoAuth()
        sent = _Sent(body) if isinstance(body, Body) else None
        try:
            return self._session.request(
                method,
                url,
                headers=headers,
                data=sent if sent is not None else body,  # type: ignore[arg-type]
                auth=auth,
                stream=stream,
                timeout=_TIMEOUT_S,
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _Temporary(_reason(error), None) from error
        except requests.RequestException as error:
            raise RegistryUnreachable(f"{method} {redacted_url(url)}: {_reason(error)}") from error
        finally:
            if sent is not None:
                sent.close()


def _reason(error: requests.RequestException) -> str:
    # The text of these errors quotes whole URLs; the class of the cause says enough.
    cause: BaseException = error
    while (inner := cause.__context__ or getattr(cause, "reason", None)) is not None and inner is not cause:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        cause = inner
    return type(error).__name__


def _tell(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0.0
    _log.warning(
        "registry: %s; attempt %d of %d in %.1f s", failure, state.attempt_number + 1, ATTEMPTS, wait
    )


def _retry_after(text: str) -> float | None:
    """Seconds from a Retry-After header, in either of its forms.

    Source: RFC 9110, section 10.2.3.
    """
    if text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
