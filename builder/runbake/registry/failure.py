"""A registry's refusals, as errors that say what to do."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests

from runbake.errors import (
    DigestMismatch,
    ManifestNotFound,
    RegistryAuthError,
    RegistryError,
    RegistryUnreachable,
)

_SHOWN = 300
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_FULL = re.compile(r'no space left|disk quota exceeded|"Err":(?:28|122)\b', re.IGNORECASE)
"""The words of ENOSPC and EDQUOT; distribution 2.x sends their bare numbers when a session cannot begin."""


class Temporary(Exception):
    """An attempt that may go better next time.

    `error` is what the user reads when it does not; `after_s` how long the registry asks to wait, None
    where it does not ask.
    """

    def __init__(self, error: RegistryError, *, after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.after_s = error, after_s


def redacted_url(url: str) -> str:
    """The URL without user, password and query: upload URLs carry state there, and redirects signatures."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def failure_of(method: str, response: requests.Response, host: str) -> RegistryError | Temporary:
    """The error for an answer that was not wanted; `host` is whose credentials would have been used."""
    error = error_of(method, response, host)
    if response.status_code in _TEMPORARY and not _is_full(response):
        return Temporary(error, after_s=_retry_after(response))
    # Bytes that changed on the way are sent again; so answers distribution 2.8 now and then when two builds
    # send the same blob at the same moment.
    return Temporary(error) if isinstance(error, DigestMismatch) else error


def error_of(method: str, response: requests.Response, host: str) -> RegistryError:
    """The error for an answer, whether or not it is temporary."""
    status, codes = response.status_code, _codes(response)
    problem = f"{method} {redacted_url(response.url)} answered {status}{_told(response)}"
    if status in (401, 403) and _was_sent_elsewhere(response):
        return RegistryError(problem, hint=f"{host} redirected there: its storage refuses, not its login")
    if status in (401, 403):
        return RegistryAuthError(problem, hint=f"docker login {host}; the account needs push and pull")
    if "DIGEST_INVALID" in codes:
        return DigestMismatch(problem, hint="the bytes changed on the way, or on the disk; run again")
    if status == 404 and not {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"} & codes:
        return ManifestNotFound(
            problem,
            hint="check host, name, tag and digest; some registries want the "
            "repository to be created first (aws ecr create-repository)",
        )
    return RegistryError(
        f"{problem}: the registry's disk is full" if _is_full(response) else problem,
        hint=_hint(response),
    )


def unreachable(method: str, url: str, error: BaseException, *, sending: bool) -> RegistryUnreachable:
    """The error for no answer at all; the texts of requests' errors quote whole URLs, so they stay out."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    if (wrong := _certificate_problem(error)) is not None:
        return RegistryUnreachable(f"{method} {redacted_url(url)}: {wrong[0]}", hint=wrong[1])
    hint = (
        f"is {host} up, and the address right? Plain http is used for loopback hosts and --insecure-registry"
    )
    if sending:
        hint = f"is {host} up? Some registries hang up where the repository does not exist: create it first"
    return RegistryUnreachable(f"{method} {redacted_url(url)}: {_reason(error)}", hint=hint)


def is_permanent(error: BaseException) -> bool:
    """Whether trying again cannot help: a certificate, or a server that does not speak TLS."""
    return _certificate_problem(error) is not None


def _certificate_problem(error: BaseException) -> tuple[str, str] | None:
    text = " ".join(str(cause) for cause in _causes(error))
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return (
            "its certificate is not trusted",
            "point REQUESTS_CA_BUNDLE at a file with the certificate of its authority",
        )
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
        return (
            "it does not speak TLS",
            "plain http is used for loopback hosts, and with --insecure-registry HOST for others",
        )
    return None


def _reason(error: BaseException) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
            return cause.strerror
    if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in causes):
        return "no answer in time"
    return f"the connection broke ({type(causes[-1]).__name__})"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first; each once, as chains may be rings."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        cause = todo.pop(0)
        if isinstance(cause, BaseException) and not any(cause is known for known in found):
            found.append(cause)
            todo += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]
    return found


def _was_sent_elsewhere(response: requests.Response) -> bool:
    return any(urlsplit(hop.url)[:2] != urlsplit(response.url)[:2] for hop in response.history)


def _is_full(response: requests.Response) -> bool:
    return response.status_code == 507 or (
        response.status_code >= 500 and _FULL.search(text_of(response)) is not None
    )


def text_of(response: requests.Response) -> str:
    """An answer's body, "" where it broke off; reading it frees the connection."""
    try:
        return response.text
    except requests.RequestException:
        return ""


def _hint(response: requests.Response) -> str:
    if _is_full(response):
        return "free space there, then run again: what is already sent is kept"
    if response.status_code == 413:
        return "a proxy before the registry limits the size of uploads (nginx: client_max_body_size)"
    if response.is_redirect:
        target = redacted_url(response.headers.get("Location", ""))
        return f"it redirects to {target}: use that host in the reference"
    return "the registry's own log says more; run again: what is there is not sent twice"


def _errors(response: requests.Response) -> list[dict[str, Any]]:
    try:
        errors = response.json()["errors"]
    except (requests.RequestException, KeyError, TypeError):
        return []
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _codes(response: requests.Response) -> set[str]:
    return {str(error.get("code", "")) for error in _errors(response)}


def _told(response: requests.Response) -> str:
    errors = _errors(response)
    told = "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors)
    told = " ".join((told or text_of(response)).split())
    return f": {told[:_SHOWN]}" if told else ""


def _retry_after(response: requests.Response) -> float | None:
    """Seconds from a Retry-After header, in either of its forms; a date counts from the answer's own Date.

    Source: RFC 9110, sections 10.2.3 and 6.6.1.
    """
    text = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        moment, now = parsedate_to_datetime(text), parsedate_to_datetime(response.headers.get("Date", ""))
        return max(0.0, (moment - now).total_seconds())
    except (TypeError, ValueError):
        return None
