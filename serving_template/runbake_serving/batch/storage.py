"""Where inputs are read and outputs are written: the two interfaces, and which of the doors a URI takes.

`local` and `s3` carry them out. Names in an output are relative to it and use `/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.parse import unquote

from runbake_serving.batch.failures import BadSpec

S3: Final = "s3://"
_WILD: Final = re.compile(r"[*?\[]")
_TRANSLATED: Final = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^/\]]+\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file of the input as it is now; `below` is its path under what was asked for."""

    uri: str
    size_bytes: int
    fingerprint: str
    below: str


class Inputs(Protocol):
    """Reads files."""

    def find(self, uri: str) -> Sequence[Found]:
        """The files that this file, directory or glob stands for, sorted; hidden ones are left out."""
        ...

    def open(self, uri: str, fingerprint: str) -> BinaryIO:
        """The file, seekable, if it is still the one with this fingerprint."""
        ...


class Output(Protocol):
    """Writes one job's output."""

    @property
    def scratch(self) -> Path:
        """A directory for files that are not committed yet; for local outputs on the same disk."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file's bytes; None where it is not there."""
        ...

    def create(self, name: str, body: bytes, *, replace: bool = False) -> bool:
        """Write a small file whole or not at all; False where it is there already and not to be replaced."""
        ...

    def commit(self, path: Path, name: str, sha256: str, *, replace: bool = False) -> bool:
        """Give a finished file its name, whole or not at all; False where the name is taken."""
        ...

    def sum_of(self, name: str) -> tuple[int, str] | None:
        """Size and sha256 of a committed file; None where it is not there."""
        ...

    def names(self, folder: str) -> frozenset[str]:
        """Names of the files in this folder."""
        ...

    def clear(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def leave(self) -> None:
        """Say that this runner is done: nothing more is written."""
        ...


def is_wild(uri: str) -> bool:
    """Whether this is a glob, unless a file of that very name is there."""
    return _WILD.search(uri) is not None


def fixed_prefix(uri: str) -> str:
    """The part of a glob before its first wildcard, up to a slash."""
    matched = _WILD.search(uri)
    return uri if matched is None else uri[: uri.rfind("/", 0, matched.start()) + 1]


def pattern_of(uri: str) -> re.Pattern[str]:
    """What a glob's files match; `*` and `?` stay within a folder, `**` does not.

    A folder that matches stands for all below it.
    """
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def word(token: str) -> str:
        if token in words:
            return words[token]
        if len(token) > 1:
            inside = token[1:-1].replace("\\", "\\\\")
            return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
        return re.escape(token)

    body = "".join(word(token) for token in _TRANSLATED.findall(uri.rstrip("/")))
    return re.compile(f"(?P<asked>{body})(?:/(?P<below>.*))?", re.DOTALL)


def is_hidden(below: str) -> bool:
    """Whether a folder's reader passes over this path: a name in it begins with `_` or `.`."""
    return any(name.startswith(("_", ".")) for name in below.split("/"))


def partition_of(path: str) -> tuple[tuple[str, str], ...]:
    """Columns that folders called `key=value` tell, outermost first; Hive quotes what a path may not hold."""
    pairs = [name.split("=", 1) for name in path.split("/")[:-1] if "=" in name]
    return tuple((unquote(key), unquote(value)) for key, value in pairs if key)


def is_within(uri: str, folder: str) -> bool:
    """Whether this is the folder itself, or lies below it."""
    return f"{_plain(uri)}/".startswith(f"{_plain(folder)}/")


def _plain(uri: str) -> str:
    return uri.rstrip("/") if uri.startswith(S3) else os.path.abspath(uri)


def check_outside(output: str, inputs: Iterable[str]) -> None:
    """Return where no input lies in the output.

    Raises:
        BadSpec: one does: its own results would be read.
    """
    for uri in inputs:
        if is_within(uri, output):
            raise BadSpec(f"the input {uri} lies in the output {output}", hint="choose an output of its own")
