"""What a batch job needs of this machine: its arguments for the container, and the paths to mount."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from runbake.errors import ConfigError

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://")
_WILD = re.compile(r"[*?\[]")
_TAKEN = ("bin", "boot", "dev", "etc", "lib", "lib64", "opt", "proc", "root", "sbin", "sys", "usr")
"""Directories of the image: a mount over them would hide what it runs, or (`root`) only root could enter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A path of this machine, at the same place in the container."""

    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """A job as the container gets it.

    Attributes:
        arguments: of the image's `batch`; local paths are absolute.
        output: the local output directory, to be made if it is missing; "" where it is remote.
        target: the output in either case, an absolute path or a URI.
        remote: whether anything is read or written over the network.
    """

    arguments: tuple[str, ...]
    mounts: tuple[Mount, ...]
    output: str
    target: str
    remote: bool


def needs_of(
    inputs: Sequence[str],
    output: str | None,
    spec: Path | None,
    more: Sequence[str],
    *,
    contained: bool = True,
) -> Needs:
    """The needs of a job; `spec` is read for the paths that it names, `more` is handed on untouched.

    Without a container (`contained`) any path will do.

    Raises:
        ConfigError: there is no output, the spec cannot be read, or a path cannot be mounted.
    """
    document = _document(spec) if spec else {}
    uris = list(inputs) or _texts(_within(document, "input").get("uris"))
    target = output or next(iter(_texts([_within(document, "output").get("uri")])), "")
    if not target:
        raise ConfigError("the job has no output", hint="pass --output DIR, or name it in --spec")
    found, where = [_absolute(uri) for uri in uris], _absolute(target)
    arguments = [part for uri in found for part in ("--input", uri)]
    arguments += ["--output", where]
    mounts = [Mount(path=_fixed(uri)) for uri in found if not _REMOTE.match(uri)]
    if spec:
        arguments += ["--spec", os.path.abspath(spec)]
        mounts.append(Mount(path=os.path.abspath(spec)))
    remote = any(_REMOTE.match(uri) for uri in (*found, where))
    local = "" if _REMOTE.match(where) else where
    if local:
        mounts.append(Mount(path=local, writable=True))
    for mount in mounts if contained else ():
        _check(mount.path)
    return Needs(
        arguments=(*arguments, *more),
        mounts=tuple(dict.fromkeys(mounts)),
        output=local,
        target=where,
        remote=remote,
    )


def _absolute(uri: str) -> str:
    return uri if _REMOTE.match(uri) else os.path.abspath(os.path.expanduser(uri))


def _fixed(path: str) -> str:
    """The file or directory itself; of a glob the directory above its first pattern."""
    if os.path.exists(path):
        return path
    parts = PurePosixPath(path).parts
    wild = next((index for index, part in enumerate(parts) if _WILD.search(part)), None)
    fixed = str(PurePosixPath(*parts[:wild])) if wild else path
    if not os.path.exists(fixed):
        raise ConfigError(f"there is no input at {path}", hint="name a file, a directory or a glob")
    return fixed


def _check(path: str) -> None:
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or parts[1] in _TAKEN:
        raise ConfigError(
            f"{path} cannot be mounted into the container: the image has that directory for itself",
            hint="put the job's files elsewhere, below /home, /mnt or /srv for one",
        )


def _document(spec: Path) -> dict[str, Any]:
    try:
        document = json.loads(spec.read_bytes())
    except OSError as error:
        raise ConfigError(f"{spec} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{spec} is not JSON: {str(error)[:200]}") from error
    return document if isinstance(document, dict) else {}


def _within(document: dict[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name)
    return section if isinstance(section, dict) else {}


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
