"""One request to a registry: authenticated, retried while that helps, failed with a clear error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from runbake.errors import DigestMismatch, RegistryError
from runbake.registry.auth import Authenticator, NoAuth
from runbake.registry.credentials import Credentials
from runbake.registry.failure import (
    Temporary,
    failure_of,
    is_permanent,
    redacted_url,
    text_of,
    unreachable,
)
from runbake.registry.session import Session

_log = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 6
_LONGEST_WAIT_S = 60.0
_PATIENCE_S = 900.0
_SLOWEST_BYTES_PER_S = 100_000
"""No attempt begins later than this long after the first: a registry that lets each one run into its timeout
would hold a build for an hour. What is large may take as long again as a slow line needs for it."""

_AUTH_ROUNDS = 2
_CHUNK_BYTES = 256 << 10

_TIMEOUT_S = (10.0, 300.0)
_SENDING_TIMEOUT_S = (120.0, 600.0)
"""The first of each bounds connecting, and also the sending of one chunk: a registry that moves parts to
object storage stops reading meanwhile, and slow lines are slow. The second bounds the wait for an answer."""

_READING = frozenset({"GET", "HEAD"})


class Meter:
    """Progress over several attempts: what is sent again is not counted again."""

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report, self._now, self._told = report, 0, 0

    def begin(self) -> None:
        """Another attempt starts at the first byte."""
        self._now = 0

    def add(self, size_bytes: int) -> None:
        """So many bytes more of this attempt."""
        self._now += size_bytes
        self.reach(self._now)

    def reach(self, size_bytes: int) -> None:
        """So many bytes in all are done, however they got there."""
        if self._report is not None and size_bytes > self._told:
            self._report(size_bytes - self._told)
        self._told = max(self._told, size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request body that can be sent again: each `open` starts at the first byte."""

    size_bytes: int
    open: Callable[[], BinaryIO]
    meter: Meter


class _Sent:
    """The body of one attempt, in the form that requests streams with a Content-Length."""

    def __init__(self, body: Body) -> None:
        self._body, self._left = body, body.size_bytes
        with _local_failure_is_named():
            self._stream = body.open()
        body.meter.begin()

    def __len__(self) -> int:
        return self._body.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        # requests takes an iterable for a stream; what is sent comes through `read`.
        while chunk := self.read():
            yield chunk

    def read(self, _size: int = 0) -> bytes:
        # urllib3 asks for 16 KiB at a time, which costs more than the sending.
        with _local_failure_is_named():
            chunk = self._stream.read(_CHUNK_BYTES)
        self._left -= len(chunk)
        if self._left < 0 or (not chunk and self._left > 0):
            # The registry would wait for the missing bytes, or take the rest for another request.
            raise DigestMismatch(
                f"a file changed while it was sent: it has not the {self._body.size_bytes} bytes it had",
                hint="run again while nothing else writes to runbake's cache or the model",
            )
        self._body.meter.add(len(chunk))
        return chunk

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _local_failure_is_named() -> Iterator[None]:
    # As an OSError, requests would take it for a broken connection, and send again.
    try:
        yield
    except OSError as error:
        raise RegistryError(
            f"cannot read what is to be sent: {error.strerror or type(error).__name__}",
            hint="check the disk that holds runbake's cache, and the model's files",
        ) from error


class Transport:
    """Requests to one registry host; `host` is its name as the user writes it, for messages.

    `attempts` is how often a request is sent at most.
    """

    def __init__(
        self,
        base_url: str,
        host: str,
        credentials: Callable[[], Credentials | None],
        *,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host, self._base_url, self._attempts = host, base_url, attempts
        self._sleep, self._clock = sleep, clock
        self._session = Session()
        self._authenticator = Authenticator(self._session, host, credentials, clock)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._session.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        ok: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        """Send one request, again while that helps, and return an answer whose status is in `ok`.

        Raises:
            RegistryUnreachable: no answer, after all attempts.
            RegistryAuthError, ManifestNotFound, RegistryError: an answer that is not in `ok`.
        """
        return self.repeatedly(
            lambda: self.attempt(method, url, scope=scope, ok=ok, headers=headers, body=body)
        )

    def repeatedly(self, act: Callable[[], T], *, size_bytes: int = 0) -> T:
        """Do something made of attempts, up to `attempts` times, later each time or when the registry asks.

        None begins later than a quarter of an hour after the first, more for what has `size_bytes` to move.

        Raises:
            RegistryError: the failure of the last attempt.
        """
        deadline = self._clock() + _PATIENCE_S + size_bytes / _SLOWEST_BYTES_PER_S

        def is_enough(state: RetryCallState) -> bool:
            return state.attempt_number >= self._attempts or self._clock() + state.upcoming_sleep > deadline

        retrying = Retrying(
            stop=is_enough,
            wait=_wait,
            retry=retry_if_exception_type(Temporary),
            sleep=self._sleep,
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            return retrying(act)
        except Temporary as last:
            raise last.error from last.__cause__

    def _tell(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        _log.warning(
            "%s; attempt %d of %d in %.1f s", failure, state.attempt_number + 1, self._attempts, wait
        )

    def attempt(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        ok: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request once and return an answer whose status is in `ok`.

        `url` may be relative to the host. A 401 is met with credentials.

        Raises:
            Temporary: another attempt may go better.
            RegistryAuthError, ManifestNotFound, RegistryError: it will not.
        """
        absolute = self.absolute(url)
        response = self._authenticated(method, absolute, scope, dict(headers or {}), body, stream)
        if response.status_code not in ok:
            with response:
                raise failure_of(method, response, self.host)
        return response

    def absolute(self, url: str, base: str = "") -> str:
        """The address that a registry names, relative to `base` or to itself.

        Raises:
            RegistryError: it is malformed.
        """
        try:
            absolute = urljoin(base or self._base_url, url)
            ours, theirs = urlsplit(self._base_url), urlsplit(absolute)
        except ValueError as error:
            raise RegistryError(f"{self.host} answered with a malformed address") from error
        if theirs.netloc == ours.netloc and theirs.scheme == "http":
            # A registry behind a proxy that ends TLS often names itself with http.
            return theirs._replace(scheme=ours.scheme).geturl()
        return absolute

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
            response, auth = self._sent(method, url, scope, headers, body, stream)
            # A redirect's target is another host, whose challenge must not be met with our credentials.
            if response.status_code != 401 or not self._ours(response.url):
                return response
            text_of(response)
            if not self._authenticator.answer(response, scope, auth):
                return response
        return self._sent(method, url, scope, headers, body, stream)[0]

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
    ) -> tuple[requests.Response, AuthBase]:
        # Opening may take long (a base's layer is fetched then), so it comes before asking for a token.
        # Without a length, requests would send an empty body in chunks.
        sent = _Sent(body) if isinstance(body, Body) and body.size_bytes else None
        try:
            auth = self._authenticator.auth_for(scope) if self._ours(url) else NoAuth()
            data: Any = sent if sent is not None else body if isinstance(body, bytes) else None
            return self._asked(method, url, headers=headers, data=data, auth=auth, stream=stream), auth
        finally:
            if sent is not None:
                sent.close()

    def _asked(self, method: str, url: str, *, data: Any, **arguments: Any) -> requests.Response:
        sending = isinstance(data, _Sent)
        try:
            return self._session.request(
                method,
                url,
                data=data,
                timeout=_SENDING_TIMEOUT_S if sending else _TIMEOUT_S,
                # A body is spent when a redirect arrives, and a POST would turn into a GET.
                allow_redirects=method in _READING,
                **arguments,
            )
        except requests.RequestException as error:
            failed = unreachable(method, url, error, sending=method not in _READING)
            lasting = is_permanent(error) or not isinstance(error, _BROKEN)
            raise failed if lasting else Temporary(failed) from error
        except OSError as error:
            # What requests says of a REQUESTS_CA_BUNDLE that is not there.
            raise RegistryError(
                f"{method} {redacted_url(url)}: {error}", hint="check REQUESTS_CA_BUNDLE"
            ) from error


_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def _wait(state: RetryCallState) -> float:
    usual: float = wait_random_exponential(multiplier=0.5, max=10)(state)
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.after_s if isinstance(failure, Temporary) else None
    return min(asked, _LONGEST_WAIT_S) if asked is not None else usual
