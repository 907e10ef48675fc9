"""Files on this machine: read, and committed by links and renames after fsync."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runbake_serving.batch.failures import BatchFailure
from runbake_serving.batch.scratch import Scratch
from runbake_serving.batch.storage import Found, fixed_prefix, is_hidden, is_wild, pattern_of

_EDGE_BYTES = 64 << 10
_HINTS = {
    errno.EACCES: "let the user that this runs as (10001 in an image) read the input and write to the output",
    errno.EPERM: "let the user that this runs as (10001 in an image) read the input and write to the output",
    errno.EROFS: "mount the output where it can be written",
    errno.ENOSPC: "make room; what is committed stays, and the same command continues",
    errno.EDQUOT: "make room; what is committed stays, and the same command continues",
}


@contextmanager
def told(path: str | Path, verb: str) -> Iterator[None]:
    """Turn the system's refusals into what the operator can act on.

    Raises:
        BatchFailure: as told.
    """
    try:
        yield
    except OSError as error:
        raise BatchFailure(
            f"{path} cannot be {verb}: {error.strerror or error}", hint=_HINTS.get(error.errno or 0, "")
        ) from error


class LocalInputs:
    """Input files on this machine."""

    def find(self, uri: str) -> Sequence[Found]:
        """The files that `uri` stands for, sorted.

        Raises:
            BatchFailure: there are none, or one cannot be read.
        """
        with told(uri, "read"):
            if os.path.isfile(uri):
                return [_found(uri, os.path.basename(uri))]
            paths = sorted(_below(uri) if os.path.isdir(uri) else _matching(uri))
            if not paths:
                raise BatchFailure(f"there is no input at {uri}", hint="name a file, a directory or a glob")
        found = []
        for path, below in paths:
            with told(path, "read"):
                found.append(_found(path, below))
        return found

    def open(self, uri: str, fingerprint: str) -> BinaryIO:
        """The file, if it is still the one that was planned.

        Raises:
            BatchFailure: it is not there, cannot be read, or was changed.
        """
        with told(uri, "read"):
            if fingerprint_of(uri)[1] != fingerprint:
                raise BatchFailure(
                    f"{uri} was changed since the job was planned",
                    hint="choose another output for the new input",
                )
            return open(uri, "rb")


def fingerprint_of(path: str) -> tuple[int, str]:
    """Size and fingerprint: the sha256 of size, first and last 64 KiB."""
    with open(path, "rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        digest = hashlib.sha256(f"{size_bytes}:".encode() + file.read(_EDGE_BYTES))
        file.seek(max(0, size_bytes - _EDGE_BYTES))
        digest.update(file.read(_EDGE_BYTES))
    return size_bytes, digest.hexdigest()


def _found(path: str, below: str) -> Found:
    size_bytes, fingerprint = fingerprint_of(path)
    return Found(uri=path, size_bytes=size_bytes, fingerprint=fingerprint, below=below)


def _below(root: str) -> Iterator[tuple[str, str]]:
    for folder, _, names in os.walk(root, onerror=_raise, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)
            below = os.path.relpath(path, root)
            if not is_hidden(below):
                yield path, below


def _raise(error: OSError) -> None:
    raise error


def _matching(uri: str) -> Iterator[tuple[str, str]]:
    if not is_wild(uri):
        return
    pattern, root = pattern_of(uri), fixed_prefix(uri)
    for folder, _, names in os.walk(root or ".", followlinks=True):
        for name in names:
            path = os.path.join(folder, name)
            path = path if root else os.path.relpath(path)
            matched = pattern.fullmatch(path)
            below = path[len(root) :]
            if matched is not None and not is_hidden(below):
                yield path, below


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """A directory that belongs to one job."""

    root: Path
    _scratch: Scratch = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scratch", Scratch(self.root))

    @property
    def scratch(self) -> Path:
        """`_tmp` in the output: on the same disk, so that a rename commits."""
        with told(self.root, "written to"):
            return self._scratch.held()

    def leave(self) -> None:
        """Leave the scratch folder; it goes with the last runner."""
        self._scratch.left()

    def read(self, name: str) -> bytes | None:
        """A small file's bytes; None where it is not there.

        Raises:
            BatchFailure: it cannot be read.
        """
        with told(self.root / name, "read"):
            try:
                return (self.root / name).read_bytes()
            except FileNotFoundError:
                return None

    def create(self, name: str, body: bytes, *, replace: bool = False) -> bool:
        """Write a small file whole or not at all.

        Raises:
            BatchFailure: it cannot be written.
        """
        path = self.scratch / f"{uuid.uuid4().hex}.json"
        with told(self.root / name, "written"):
            try:
                with path.open("wb") as file:
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                return self.commit(path, name, "", replace=replace)
            finally:
                path.unlink(missing_ok=True)

    def commit(self, path: Path, name: str, sha256: str, *, replace: bool = False) -> bool:
        """Give a file that was written and synced its name.

        Raises:
            BatchFailure: it cannot be written.
        """
        del sha256  # a link or a rename cannot damage it
        target = self.root / name
        with told(target, "written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if replace:
                path.replace(target)
            elif not _linked(path, target):
                return False
            _sync_folder(target.parent)
        return True

    def sum_of(self, name: str) -> tuple[int, str] | None:
        """Size and sha256 of what lies there.

        Raises:
            BatchFailure: it cannot be read.
        """
        with told(self.root / name, "read"):
            try:
                with (self.root / name).open("rb") as file:
                    return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> frozenset[str]:
        """Names in this folder; none where it is not there.

        Raises:
            BatchFailure: it cannot be read.
        """
        with told(self.root / folder, "read"):
            try:
                return frozenset(os.listdir(self.root / folder))
            except FileNotFoundError:
                return frozenset()

    def clear(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            BatchFailure: it cannot be removed.
        """
        with told(self.root / name, "removed"):
            (self.root / name).unlink(missing_ok=True)


def _linked(path: Path, target: Path) -> bool:
    """Give the file a second name, which nobody else has given; False where it is taken."""
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # A disk without hard links. Between look and rename another runner may come, with the same bytes.
        if target.exists():
            return False
        path.replace(target)
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network disks refuse it.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
