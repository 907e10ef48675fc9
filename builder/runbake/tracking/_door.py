"""How MLflow is spoken to: its defaults, first contact, and its exceptions in our words."""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import ReadTimeoutError

from runbake.errors import (
    ConfigError,
    DiskFull,
    RunbakeError,
    RunNotFound,
    TrackingAuthError,
    TrackingError,
)
from runbake.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_DEFAULTS: Final = MappingProxyType(
    {
        # MLflow's own default, 7 retries with a factor of 2, lets a broken server take four minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        # The story on stderr is ours to tell.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
)
"""What runbake sets where the user did not; MLflow takes these from the process environment only."""

CLOUD_LIBRARIES: Final = frozenset({"azure", "boto3", "botocore", "google", "paramiko", "urllib3"})
"""Where exceptions come from that MLflow's artifact stores let through untranslated."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BARE_STATUS = re.compile(r"failed with error code (\d{3})")
_RETRIED_STATUS = re.compile(r"too many (\d{3}) error responses")
_BAD_SETTING = re.compile(r"^Failed to convert (?P<value>.{1,80}) for (?P<name>MLFLOW_[A-Z_]+):")
"""What MLflow says of an environment variable that is no number."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}(?:/|$)")
_WORDS = frozenset({"databricks", "databricks-uc", "uc"})
"""Tracking URIs of MLflow's that are one word."""
_AUTH_CODES = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"})
_MISSING_CODES = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND"})

_URI_HINT = "is MLFLOW_TRACKING_URI (or --tracking-uri) right, and the server up?"
_MISSING_HINT = "is it spelled right, and is MLFLOW_TRACKING_URI (or --tracking-uri) its server?"
_TLS_HINT = "name your certificate authority's file: MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE"
_FOREIGN_HINT = (
    "that is no answer of MLflow's own; does something before it want credentials (MLFLOW_TRACKING_TOKEN)?"
)
_AUTH_HINT = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def use_mlflow_defaults(environment: MutableMapping[str, str]) -> None:
    """Put `MLFLOW_DEFAULTS` into this environment where the user set nothing.

    MLflow reads its settings from `os.environ` alone, telemetry while it is imported; so `cli`, the one place
    that touches the environment, calls this with `os.environ` before anything of `tracking` connects.
    """
    for name, value in MLFLOW_DEFAULTS.items():
        environment.setdefault(name, value)


def without_userinfo(uri: str) -> str:
    """The URI with user and password removed."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def one_line(text: str, limit: int = 300) -> str:
    """Foreign text fit for a message: redacted, control characters blanked, at most `limit` characters."""
    flat = _CONTROL.sub(" ", redacted(text)).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _checked_uri(uri: str) -> str:
    """The tracking URI, if MLflow would not take a slip of the pen for a new directory of that name.

    Raises:
        ConfigError: it is neither a URI nor a directory that is there.
    """
    if uri != uri.strip():
        raise ConfigError(f"the tracking URI {redacted(uri)[:200]!r} begins or ends with a blank")
    if _HOST_PORT.match(uri):
        shown = redacted(uri)[:200]
        raise ConfigError(f"the tracking URI {shown!r} has no scheme", hint=f"write http://{shown}")
    if not (_SCHEME.match(uri) or uri in _WORDS or Path(uri).is_dir()):
        raise ConfigError(
            f"the tracking URI {redacted(uri)[:200]!r} is neither a URI nor a directory that is there",
            hint="write http://HOST:PORT, or sqlite:///FILE",
        )
    return uri


class Door:
    """A tracking server: its address, and the MLflow client once somebody asked for it."""

    def __init__(self, uri: str, *, timeout_s: float, local_artifacts: bool = False) -> None:
        if not uri.strip():
            raise ConfigError("no MLflow tracking server is named", hint="set MLFLOW_TRACKING_URI")
        self.uri = _checked_uri(uri).rstrip("/")
        self.timeout_s = timeout_s
        self._local_artifacts = local_artifacts
        self._client: MlflowClient | None = None

    def __repr__(self) -> str:
        return f"Door({self.address!r})"

    @property
    def address(self) -> str:
        """The tracking URI without credentials."""
        return redacted(self.uri)

    @property
    def is_http(self) -> bool:
        """Whether the server speaks HTTP, rather than being a directory or database."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def may_name_paths(self) -> bool:
        """Whether the server may name directories of this machine: it is on it, or the user says so."""
        return self._local_artifacts or not self.is_http

    def client(self) -> MlflowClient:
        """MLflow's client of a server that answered.

        The first call imports MLflow (one second) and knocks: a server that is down, slow, broken or wants
        other credentials fails here in about `timeout_s`, whatever MLflow's own retries.
        """
        if self._client is None:
            with self.translated("the first request", missing=TrackingError):
                from mlflow import MlflowClient

                if self.is_http:
                    self._knock()
                self._client = MlflowClient(tracking_uri=self.uri)
        return self._client

    def request(self, method: str, endpoint: str, **kwargs: Any) -> requests.Response:
        """One HTTP request with MLflow's own authentication and TLS settings; 4xx and 5xx raise."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        kwargs = {"max_retries": _retries(), "backoff_factor": 1, "raise_on_status": False, **kwargs}
        response: requests.Response = http_request(
            get_default_host_creds(self.uri), endpoint, method, **kwargs
        )
        response.raise_for_status()
        return response

    def _knock(self) -> None:
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT as USER_TIMEOUT

        share_s = self.timeout_s / (_retries() + 1)
        self.request(
            "POST",
            "/api/2.0/mlflow/experiments/search",
            json={"max_results": 1},
            timeout=min(share_s, USER_TIMEOUT.get()) if USER_TIMEOUT.is_set() else share_s,
            # A server that asks for an hour of patience is a server that is down.
            respect_retry_after_header=False,
        )

    def translated(self, what: str, *, missing: type[TrackingError] = RunNotFound) -> Translated:
        """A context in which foreign exceptions become ours; see `Translated`."""
        return Translated(self, what, missing)


@dataclass(frozen=True, slots=True)
class Translated:
    """Inside this context every exception of MLflow, requests or a cloud library leaves as one of ours.

    `what` names the thing that was asked for; `missing` is what "not there" means for it.
    """

    door: Door
    what: str
    missing: type[TrackingError]

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None and not isinstance(error, RunbakeError):
            ours = self._ours(error)
            if ours is not None:
                raise ours from error
        return False

    def _ours(self, error: BaseException) -> RunbakeError | None:
        """The error in our words, or None for a bug, which stays one."""
        family = type(error).__module__.partition(".")[0]
        if isinstance(error, requests.RequestException) or family == "mlflow":
            return self._of_mlflow(error)
        if isinstance(error, ValueError) and (found := _BAD_SETTING.search(str(error))):
            return ConfigError(f"{found['name']} is {found['value']}, which MLflow cannot read")
        if isinstance(error, OSError) and family == "builtins":
            return self._of_disk(error)
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in CLOUD_LIBRARIES:
            return TrackingError(
                f"cannot read {self.what}: the artifact store needs the Python package {error.name!r}",
                hint="install it beside runbake, or let the MLflow server proxy it (--serve-artifacts)",
            )
        if family in CLOUD_LIBRARIES:
            text = one_line(str(error))
            return TrackingError(f"cannot read {self.what}: the artifact store says: {text}")
        return None

    def _of_disk(self, error: OSError) -> RunbakeError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull(f"no space left on the disk for {self.what}", hint="free some, or set TMPDIR")
        where = f" at {str(error.filename)[:200]!r}" if error.filename else ""
        return TrackingError(f"cannot read or keep {self.what}{where}: {error.strerror or error}")

    def _of_mlflow(self, error: BaseException) -> TrackingError:
        status, code, address = _status_of(error), str(getattr(error, "error_code", "")), self.door.address
        said = one_line(_message_of(error))
        if status in (401, 403) or code in _AUTH_CODES:
            number = status or 403
            return TrackingAuthError(f"{address} refuses {self.what}: {number}, {said}", hint=_AUTH_HINT)
        if any(isinstance(e, (requests.Timeout, ReadTimeoutError)) for e in _chain(error)):
            return TrackingError(
                f"{address} did not answer {self.what} in time (timeout)",
                hint="is the server overloaded? MLFLOW_HTTP_REQUEST_TIMEOUT=SECONDS waits longer",
            )
        if any(isinstance(e, requests.exceptions.SSLError) for e in _chain(error)):
            return TrackingError(
                f"no trusted connection to {address} for {self.what}: {said}", hint=_TLS_HINT
            )
        if any(isinstance(e, requests.ConnectionError) for e in _chain(error)):
            return TrackingError(f"cannot reach MLflow at {address} for {self.what}", hint=_URI_HINT)
        # A missing alias is an "invalid parameter" to MLflow.
        absent = code in _MISSING_CODES or (code == "INVALID_PARAMETER_VALUE" and "not found" in said)
        if (status == 404 or absent) and self.missing is not TrackingError:
            return self.missing(f"{address} has no {self.what}: {said}", hint=_MISSING_HINT)
        shown = f"{status}, " if status else ""
        hint = _FOREIGN_HINT if _is_foreign(error) else _URI_HINT
        return TrackingError(f"{address} failed at {self.what}: {shown}{said}", hint=hint)


def _retries() -> int:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES as USER_RETRIES

    return int(USER_RETRIES.get() if USER_RETRIES.is_set() else MLFLOW_DEFAULTS[USER_RETRIES.name])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # MLflow wraps without `from`; the cause is then the context.
        error = error.__cause__ or error.__context__


def _status_of(error: BaseException) -> int:
    """The HTTP status behind the error; 0 where there is none."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, requests.Response):
            return response.status_code
        for pattern in (_BARE_STATUS, _RETRIED_STATUS):
            if found := pattern.search(str(link)):
                return int(found[1])
    code = getattr(error, "json", None)
    if isinstance(code, dict) and not _is_foreign(error):
        # A server's JSON error keeps no status of its own; MLflow derives it from the code.
        return int(getattr(error, "get_http_status_code", int)())
    return 0


def _is_foreign(error: BaseException) -> bool:
    """Whether the answer was JSON, but not MLflow's; MLflow forgets its status and makes it a 500."""
    document = getattr(error, "json", None)
    return isinstance(document, dict) and "error_code" not in document


def _message_of(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, requests.Response):
        return f"{response.reason or 'error'} {response.text[:300]}"
    return str(error)
