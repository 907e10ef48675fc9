"""The runtime's settings, resolved once from the environment that the caller hands over."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbake_serving import contract
from runbake_serving.errors import StartError

PREFIX = "RUNBAKE_"
_SERVICE_HOST = "_SERVICE_HOST"
_OF_A_SERVICE = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_TYPE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_<]\w*>?)+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MOST_WORKERS = 4
"""Default workers at most; more is asked for with RUNBAKE_WORKERS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set; a default stands where the environment says nothing.

    Attributes:
        probe: a Unix socket of this server's own, beside `host` and `port`.
        reuse_port: True shares the port with other servers of this user that do too.
        workers: worker processes; None lets the CPU quota and the flavor decide.
        trusted_types: types that a skops file may hold beside those that skops knows.
        grace_s: seconds that requests in flight get after SIGTERM.
        body_limit_bytes: a larger body is answered 413.
        body_timeout_s: seconds in which a request must arrive, and some of an answer must be taken.
        connections: open connections of one worker at most.
        deadline_s: seconds from a request's last byte to its answer; later it is answered 504.
        join_rows, join_bytes: limits of one joined prediction; one row joins none.
        image_digest: the image's digest, as those who started it know it; empty where they did not say.
        keep_alive_s: seconds that an idle connection stays open.
        queue, queue_bytes: requests, and bytes of their bodies, that one worker holds at the same time.
        always_dataframe: True hands the model a DataFrame even where an array would do.
        page: False removes the model page, the documentation and `/provenance`.
        tracing: OTLP's protocol by which spans are sent, as OpenTelemetry's variables say; empty sends none.
        tracking_url: the MLflow server's address for people; empty where it is not told.
    """

    model_root: Path = Path(contract.MODEL_ROOT)
    provenance_file: Path = Path(contract.PROVENANCE_FILE)
    host: str = "0.0.0.0"  # noqa: S104 - inside a container; RUNBAKE_HOST narrows it
    port: int = contract.PORT
    uds: Path | None = None
    probe: Path | None = None
    reuse_port: bool = False
    workers: int | None = None
    threads: int = 1
    trusted_types: tuple[str, ...] = ()
    grace_s: int = 25  # Kubernetes kills after 30 s unless told otherwise
    body_limit_bytes: int = 100_000_000
    body_timeout_s: int = 20
    connections: int = 4096
    deadline_s: int = 30
    join_rows: int = 1024
    join_bytes: int = 8 << 20
    image_digest: str = ""
    keep_alive_s: int = 75  # longer than the 60 s of common load balancers: they end idle connections first
    queue: int = 1024
    queue_bytes: int = 256 << 20
    always_dataframe: bool = False
    page: bool = True
    tracing: str = ""
    tracking_url: str = ""


def settings_of(environ: Mapping[str, str]) -> Settings:
    """The settings that these variables spell; variables of others are not looked at.

    Raises:
        StartError: an unknown RUNBAKE_ variable, or values out of range; every fault is named.
    """
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    foreign = _of_services(ours) - set(contract.SETTINGS)
    given = {name: value for name, value in ours.items() if name not in foreign}
    faults = [_unknown(name) for name in sorted(given) if name not in contract.SETTINGS]
    reader = _Reader(given, faults)
    default = Settings()
    settings = Settings(
        model_root=reader.path(contract.ENV_MODEL_ROOT, default.model_root),
        provenance_file=reader.path(contract.ENV_PROVENANCE, default.provenance_file),
        host=given.get(contract.ENV_HOST) or default.host,
        port=reader.whole(contract.ENV_PORT, default.port, 0, 65_535),
        uds=Path(given[contract.ENV_UDS]) if given.get(contract.ENV_UDS) else None,
        probe=Path(given[contract.ENV_PROBE]) if given.get(contract.ENV_PROBE) else None,
        reuse_port=reader.word(contract.ENV_REUSE_PORT, ("off", "on")) == "on",
        workers=reader.whole(contract.ENV_WORKERS, 0, 1, 256) or None,
        threads=reader.whole(contract.ENV_THREADS, default.threads, 1, 256),
        trusted_types=reader.words(contract.ENV_TRUSTED_TYPES),
        grace_s=reader.whole(contract.ENV_GRACE_S, default.grace_s, 0, 86_400),
        body_limit_bytes=reader.whole(contract.ENV_BODY_LIMIT, default.body_limit_bytes, 1, 1 << 40),
        body_timeout_s=reader.whole(contract.ENV_BODY_TIMEOUT_S, default.body_timeout_s, 1, 86_400),
        connections=reader.whole(contract.ENV_CONNECTIONS, default.connections, 1, 1 << 20),
        deadline_s=reader.whole(contract.ENV_DEADLINE_S, default.deadline_s, 1, 86_400),
        join_rows=reader.whole(contract.ENV_JOIN_ROWS, default.join_rows, 1, 1 << 30),
        join_bytes=reader.whole(contract.ENV_JOIN_BYTES, default.join_bytes, 1, 1 << 40),
        image_digest=reader.digest(contract.ENV_IMAGE_DIGEST),
        keep_alive_s=reader.whole(contract.ENV_KEEP_ALIVE_S, default.keep_alive_s, 1, 86_400),
        queue=reader.whole(contract.ENV_QUEUE, default.queue, 1, 1 << 20),
        queue_bytes=reader.whole(contract.ENV_QUEUE_BYTES, default.queue_bytes, 1, 1 << 40),
        always_dataframe=reader.word(contract.ENV_DATAFRAME_PATH, ("auto", "always")) == "always",
        page=reader.word(contract.ENV_PAGE, ("on", "off")) == "on",
        tracing=_tracing(environ),
        tracking_url=given.get(contract.ENV_TRACKING_URL, ""),
    )
    if faults:
        raise StartError("; ".join(faults), hint=f"known settings: {', '.join(contract.SETTINGS)}")
    return settings


def _of_services(names: Collection[str]) -> set[str]:
    """The names that Kubernetes sets in every container, here for Services called runbake-something.

    Source: Kubernetes, concepts of Service, "Environment variables"; the same as Docker's links.
    """
    # Only of a Service that tells its host: RUNBAKE_ADMIN_PORT alone is a setting that somebody misspelt.
    services = [name.removesuffix(_SERVICE_HOST) for name in names if name.endswith(_SERVICE_HOST)]
    return {
        name
        for name in names
        for service in services
        if name.startswith(service) and _OF_A_SERVICE.fullmatch(name, len(service))
    }


def _tracing(environ: Mapping[str, str]) -> str:
    """Source: OpenTelemetry, "Environment Variable Specification" and "OTLP Exporter Configuration"."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    elsewhere = (environ.get("OTEL_TRACES_EXPORTER") or "otlp") != "otlp"
    prefix = "OTEL_EXPORTER_OTLP_"
    if off or elsewhere or not (environ.get(f"{prefix}TRACES_ENDPOINT") or environ.get(f"{prefix}ENDPOINT")):
        return ""
    protocol = environ.get(f"{prefix}TRACES_PROTOCOL") or environ.get(f"{prefix}PROTOCOL")
    return protocol or "http/protobuf"


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, contract.SETTINGS, n=1)
    return f"unknown setting {name}" + (f" (did you mean {near[0]}?)" if near else "")


@dataclass(frozen=True, slots=True)
class _Reader:
    given: Mapping[str, str]
    faults: list[str]

    def path(self, name: str, default: Path) -> Path:
        return Path(self.given[name]) if self.given.get(name) else default

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        text = self.given.get(name, "")
        if not text:
            return default
        if text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most:
            return int(text)
        # Kubernetes sets NAME_PORT=tcp://… for a Service called NAME.
        service = " (a Kubernetes Service sets this: enableServiceLinks: false)" if "://" in text else ""
        self.faults.append(f"{name} must be a whole number from {least} to {most}{service}")
        return default

    def digest(self, name: str) -> str:
        text = self.given.get(name, "")
        if text and not _DIGEST.fullmatch(text):
            self.faults.append(f"{name} must be sha256: and 64 hexadecimal digits")
        return text

    def words(self, name: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in self.given.get(name, "").split(",") if word.strip())
        if not all(_TYPE.fullmatch(word) for word in words):
            self.faults.append(f"{name} must be names of types such as package.module.Class, with commas")
        return words

    def word(self, name: str, words: tuple[str, ...]) -> str:
        text = self.given.get(name, "").lower() or words[0]
        if text not in words:
            self.faults.append(f"{name} must be one of {', '.join(words)}")
        return text


def workers_of(settings: Settings, *, most: int | None, cpus: float) -> int:
    """How many workers to start: as set, within what the flavor allows (`most`), else one for each CPU."""
    wanted = settings.workers or min(MOST_WORKERS, max(1, math.floor(cpus)))
    return min(wanted, most) if most else wanted
