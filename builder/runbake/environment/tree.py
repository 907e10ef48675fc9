"""An installed tree to the files of an image: what depends on this host is left out or made again."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from runbake.environment.lock import LockedWheel
from runbake.environment.trim import is_left_out
from runbake.errors import ConflictingWheels, LockError
from runbake.image.blob import CHUNK_BYTES
from runbake.image.entry import FileEntry
from runbake_serving import contract

TREE_RULES = "tree-1"
"""Names the rules of this module; raised when the same wheels would give other entries."""

_DROPPED = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})
# How uv and pip start a script: plainly, or through sh where the interpreter's path is long or has spaces.
_PLAIN_SHEBANG = re.compile(rb"\A#![^\n]*python[^\n]*\n")
_SH_SHEBANG = re.compile(rb"\A#!/bin/sh\n'''exec' [^\n]*\n' '''\n")
_SCRIPT_GROUPS = frozenset({"console_scripts", "gui_scripts"})
_LAUNCHER = """#!{interpreter}
import sys
from {module} import {imported}
if __name__ == "__main__":
    sys.exit({called}())
"""
_SHOWN_CONFLICTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRow:
    """One row of a wheel's RECORD: `path` is relative to site-packages, `digest` is "sha256=…" or ""."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One installed wheel: its normalised name, the name of its dist-info directory, and its files."""

    name: str
    dist_info: str
    rows: tuple[RecordRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A directory that uv installed wheels into, with what each wheel brought, sorted by name."""

    root: Path
    distributions: tuple[Distribution, ...]


def read_installed(root: Path, wheels: Iterable[LockedWheel]) -> Installed:
    """What these wheels brought into `root`, by their RECORDs; contents are checked by `entries_of`.

    Raises:
        ConflictingWheels: two wheels bring different files under one path.
        LockError: a wheel is not there, a RECORD cannot be read, or a path in it leaves the directory.

    Source: PyPA specification "Recording installed projects".
    """
    present: dict[str, str] = {
        canonicalize_name(directory.name.removesuffix(".dist-info").rsplit("-", 1)[0]): directory.name
        for directory in root.glob("*.dist-info")
    }
    distributions = []
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        if wheel.name not in present:
            raise LockError(f"uv installed {wheel.file_name} without a {wheel.name} dist-info directory")
        distributions.append(_distribution(root, wheel.name, present[wheel.name]))
    _refuse_conflicts(distributions)
    return Installed(root=root, distributions=tuple(distributions))


def _distribution(root: Path, name: str, dist_info: str) -> Distribution:
    try:
        text = (root / dist_info / "RECORD").read_text(encoding="utf-8")
        raw = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        rows = [RecordRow(path=row[0], digest=row[1]) for row in raw]
    except (OSError, UnicodeDecodeError, csv.Error, IndexError) as error:
        raise LockError(f"the RECORD of {name} cannot be read: {error}") from error
    for row in rows:
        _check_path(row.path, name)
    return Distribution(name=name, dist_info=dist_info, rows=tuple(rows))


def _check_path(path: str, name: str) -> None:
    parts = path.split("/")
    if "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise LockError(
            f"the RECORD of {name} names {path[:200]!r}, which is outside its directory",
            hint="the wheel is broken or hostile; choose another version",
        )


def _refuse_conflicts(distributions: Iterable[Distribution]) -> None:
    owners: dict[str, tuple[str, str]] = {}
    conflicts = []
    for distribution in distributions:
        for row in distribution.rows:
            owner, digest = owners.setdefault(row.path, (distribution.name, row.digest))
            # Without a hash nothing says that the two files are one.
            if owner != distribution.name and (digest != row.digest or not digest):
                conflicts.append(f"{row.path} ({owner}, {distribution.name})")
    if conflicts:
        more = len(conflicts) - _SHOWN_CONFLICTS
        raise ConflictingWheels(
            "two wheels bring different files under one path: "
            + ", ".join(sorted(conflicts)[:_SHOWN_CONFLICTS])
            + (f" and {more} more" if more > 0 else ""),
            hint="take one of the two packages out of the model's pip_requirements",
        )


def entries_of(
    installed: Installed, wheels: Iterable[LockedWheel], *, interpreter: str, whole: bool = False
) -> tuple[FileEntry, ...]:
    """The files of these wheels under `contract.SITE_PACKAGES`, sorted by path; the same on every host.

    Scripts start with `interpreter`, a path in the image. What uv writes for itself, and bytecode, is left
    out, and where they need not be `whole` what `trim` names of well-known wheels. Each RECORD is written
    again, sorted, to say what is there.

    Raises:
        LockError: a file is missing, is no regular file, or is not what its RECORD says.
        ValueError: a wheel was not installed there; its layer would be empty without a word.
    """
    wanted = {wheel.name for wheel in wheels}
    if absent := wanted - {distribution.name for distribution in installed.distributions}:
        raise ValueError(f"not installed in {installed.root}: {', '.join(sorted(absent))}")
    entries: dict[str, FileEntry] = {}
    for distribution in installed.distributions:
        if distribution.name in wanted:
            for entry in _entries(installed.root, distribution, interpreter, whole):
                entries[entry.path] = entry
    return tuple(entries[path] for path in sorted(entries))


def _entries(root: Path, distribution: Distribution, interpreter: str, whole: bool) -> list[FileEntry]:
    record = f"{distribution.dist_info}/RECORD"
    dropped = {record, *(f"{distribution.dist_info}/{name}" for name in _DROPPED)}
    launchers = _launchers_of(root, distribution, interpreter)
    entries, lines = [], [(record, "", "")]
    for row in distribution.rows:
        if row.path in dropped or "__pycache__" in row.path.split("/"):
            continue
        if not whole and is_left_out(distribution.name, row.path):
            continue
        entry, digest = _entry(root, row, distribution)
        if row.path.startswith("bin/"):
            entry, digest = _started_by(entry, digest, interpreter, launchers.get(row.path, b""))
        entries.append(entry)
        lines.append((row.path, digest, str(entry.size_bytes)))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(sorted(lines))
    entries.append(FileEntry.of_bytes(_in_image(record), out.getvalue().encode()))
    return entries


def _entry(root: Path, row: RecordRow, distribution: Distribution) -> tuple[FileEntry, str]:
    """The file as an entry, and the hash for its RECORD row."""
    source = root / row.path
    try:
        status = source.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise LockError(f"{row.path} of {distribution.name} is not a regular file")
        digest = _verified_digest(source, row, distribution)
    except OSError as error:
        raise LockError(f"{row.path} of {distribution.name} cannot be read: {error.strerror}") from error
    entry = FileEntry(
        path=_in_image(row.path),
        content=source,
        size_bytes=status.st_size,
        executable=bool(status.st_mode & stat.S_IXUSR),
    )
    return entry, digest


def _started_by(entry: FileEntry, digest: str, interpreter: str, launcher: bytes) -> tuple[FileEntry, str]:
    """The script with the image's interpreter in its first line, or `launcher` in its place."""
    script = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
    started = launcher or _with_shebang(script, interpreter)
    if started == script:
        return entry, digest
    digest = "sha256=" + _base64(hashlib.sha256(started).digest())
    return FileEntry.of_bytes(entry.path, started, executable=entry.executable), digest


def _launchers_of(root: Path, distribution: Distribution, interpreter: str) -> dict[str, bytes]:
    # Written by us and not by uv: the words of uv's launchers change from one version of uv to another.
    found = {}
    for point in metadata.Distribution.at(root / distribution.dist_info).entry_points:
        match = point.pattern.match(point.value)
        if point.group in _SCRIPT_GROUPS and match and match["attr"]:
            text = _LAUNCHER.format(
                interpreter=interpreter,
                module=match["module"],
                imported=match["attr"].split(".")[0],
                called=match["attr"],
            )
            found[f"bin/{point.name}"] = text.encode()
    return found


def _with_shebang(script: bytes, interpreter: str) -> bytes:
    shebang = b"#!" + interpreter.encode() + b"\n"
    for form in (_SH_SHEBANG, _PLAIN_SHEBANG):
        if match := form.match(script):
            return shebang + script[match.end() :]
    return script


def _verified_digest(source: Path, row: RecordRow, distribution: Distribution) -> str:
    # Signatures and files that a wheel's own RECORD forgot have no hash; they get one.
    algorithm, _, expected = (row.digest or "sha256=").partition("=")
    if algorithm not in _ALGORITHMS:
        raise LockError(f"the RECORD of {distribution.name} has an unknown hash for {row.path}")
    computed = hashlib.new(algorithm)
    with source.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            computed.update(chunk)
    found = _base64(computed.digest())
    if expected and found != expected.rstrip("="):
        raise LockError(
            f"{row.path} of {distribution.name} is not what its RECORD says",
            hint=f"uv's cache is damaged (uv cache clean {distribution.name}) or the wheel is badly built",
        )
    return f"{algorithm}={found}"


def _base64(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _in_image(path: str) -> str:
    return f"{contract.SITE_PACKAGES.lstrip('/')}/{path}"
