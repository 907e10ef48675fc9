"""What somebody wants to have in service, checked before anything is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from runbake.errors import ConfigError
from runbake_serving import contract

DEFAULT_GRACE_S = 25
"""The runtime's own, where RUNBAKE_GRACE_S says nothing."""
MANAGED = (
    contract.ENV_HOST,
    contract.ENV_IMAGE_DIGEST,
    contract.ENV_PORT,
    contract.ENV_UDS,
    contract.ENV_PROBE,
    contract.ENV_REUSE_PORT,
)
"""Settings of the runtime that a deploy decides."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_OF_OURS = re.compile(r".*-(door|lock|next-[0-9a-f]+|old-[0-9a-f]+|door-[0-9a-f]+)")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_HIGHEST_PORT = 65535
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MEMORY = re.compile(r"([0-9]+)([bkmg]?)")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LEAST_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where callers come in: an IP address and a port of the engine's host.

    `str(Door.parse(text)) == text`.
    """

    address: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Door | None:
        """The door at `HOST:PORT`; None where the text is something else."""
        address, _, port = text.rpartition(":")
        if not address or not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
            return None
        return cls(address=address.strip("[]"), port=int(port))

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server may use; 0 is no limit."""

    memory_bytes: int = 0
    cpus: float = 0.0
    pids: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image of a deploy: `reference` is by digest, `labels` are the image's own."""

    reference: str
    digest: str
    labels: Mapping[str, str]

    @property
    def run_id(self) -> str:
        """The run that it was made from, "" where the labels do not say."""
        return self.labels.get(contract.LABEL_RUN_ID, "")


def checked_name(name: str) -> str:
    """The name of a service: what Docker, Kubernetes and ECS all take.

    Raises:
        ConfigError: it is not one, or would be mistaken for a container that runbake makes beside.
    """
    if not _NAME.fullmatch(name) or _OF_OURS.fullmatch(name):
        raise ConfigError(
            f"not a name for a service: {name[:60]!r}",
            hint="up to 40 lower-case letters, digits and hyphens, not ending in -door or -lock",
        )
    return name


def checked_address(text: str) -> str:
    """An address to bind to.

    Raises:
        ConfigError: it is no IP address.
    """
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ConfigError(
            f"--bind wants an IP address, not {text[:60]!r}", hint="127.0.0.1, or 0.0.0.0"
        ) from error


def memory_of(text: str) -> int:
    """Bytes of `512m`, `2g` and the like; "" is no limit.

    Raises:
        ConfigError: it is no size, or too small for any server.
    """
    found = _MEMORY.fullmatch(text.lower()) if text.isascii() else None
    if not text:
        return 0
    if found is None or len(text) > 16:
        raise ConfigError(f"--memory wants a size such as 512m or 2g, not {text[:40]!r}")
    size = int(found[1]) * _UNITS[found[2]]
    if not _LEAST_MEMORY <= size < 1 << 50:
        raise ConfigError(f"--memory {text}: no server fits into that", hint="one worker takes about 160m")
    return size


def environment_of(
    given: Iterable[str], files: Iterable[str], process: Mapping[str, str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Variables for the server, and those that no manifest shows: from our environment and from files.

    `given` are `NAME=VALUE`s and `NAME`s, whose values are in `process`; `files` are texts of such lines, as
    Docker reads them: no quotes, `#` begins a comment line. What is given wins over files.

    Raises:
        ConfigError: a malformed or managed name, or one without a value; no value is shown.
    """
    lines = [line.lstrip() for text in files for line in text.splitlines()]
    of_files = [line for line in lines if line and not line.startswith("#")]
    found: dict[str, str] = {}
    hidden: set[str] = set()
    for place, entry in enumerate((*of_files, *given)):
        name, separator, value = entry.partition("=")
        _check_variable(name)
        if not separator:
            if name not in process:
                raise ConfigError(
                    f"{name} has no value here", hint=f"set it, or write {name}=VALUE in a file"
                )
            value = process[name]
        shown = separator and place >= len(of_files)
        (hidden.discard if shown else hidden.add)(name)
        found[name] = _checked_value(name, value)
    return found, frozenset(hidden)


def _check_variable(name: str) -> None:
    if not _VARIABLE.fullmatch(name) or len(name) > 250:
        raise ConfigError("a variable for the server has a malformed name", hint="--env NAME=VALUE")
    if name in MANAGED:
        raise ConfigError(f"{name} is set by deploy itself", hint="use --port and --bind")


def _checked_value(name: str, value: str) -> str:
    if "\0" in value:
        raise ConfigError(f"the value of {name} holds a zero byte")
    if name == contract.ENV_GRACE_S and not (value.isascii() and value.isdigit() and len(value) < 6):
        raise ConfigError(f"{name} wants whole seconds")
    return value


def grace_of(environment: Mapping[str, str]) -> int:
    """Seconds that a server takes at most to drain when it is told to end."""
    return int(environment.get(contract.ENV_GRACE_S) or DEFAULT_GRACE_S)
