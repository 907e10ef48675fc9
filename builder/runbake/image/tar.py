"""Files to tar bytes: the same files give the same bytes on every host."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runbake.image.blob import CHUNK_BYTES
from runbake.image.entry import FileEntry

MTIME = 315_619_200
"""1980-01-02T00:00:00Z: zipfile refuses earlier times, and MLflow and Spark zip code at run time."""

_BLOCK = 512
_END = bytes(2 * _BLOCK)

Segment = bytes | Path
"""A piece of a tar stream: bytes, or the whole of a file on disk."""


class DuplicatePath(ValueError):
    """Two entries name one path."""


def sorted_entries(entries: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """The entries in the order of their bytes, each path once.

    Raises:
        DuplicatePath: two entries name one path.
        ValueError: a path is absolute, empty, or has "." or ".." parts.
    """
    ordered = sorted(entries, key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    for entry in ordered:
        _check_path(entry.path)
    for before, after in pairwise(ordered):
        if before.path == after.path:
            raise DuplicatePath(f"two entries for {before.path!r}")
    return tuple(ordered)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not a path inside an image: {path!r}")


def segments_of(entries: Iterable[FileEntry]) -> Iterator[Segment]:
    """The tar stream of these entries, piece by piece; files on disk stay there.

    Parent directories come before their files, mode 0755; files are 0644, or 0755 when executable; owner is
    0:0 without names; the time is `MTIME`; two zero blocks end the stream, without further padding. PAX
    headers appear only where a name or a size needs one.

    Source: OCI image-spec v1.1, layer.md; POSIX.1-2017 pax, "ustar Interchange Format".
    """
    seen: set[str] = set()
    for entry in sorted_entries(entries):
        for parent in reversed(PurePosixPath(entry.path).parents[:-1]):
            if str(parent) not in seen:
                seen.add(str(parent))
                yield _header(str(parent), kind=tarfile.DIRTYPE, mode=0o755)
        if entry.link_target:
            yield _header(entry.path, kind=tarfile.SYMTYPE, mode=0o777, link=entry.link_target)
            continue
        mode = 0o755 if entry.executable else 0o644
        yield _header(entry.path, kind=tarfile.REGTYPE, mode=mode, size=entry.size_bytes)
        yield entry.content
        yield bytes(-entry.size_bytes % _BLOCK)
    yield _END


def _header(path: str, *, kind: bytes, mode: int, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size, info.mtime, info.linkname = kind, mode, size, MTIME, link
    return info.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")


class TarReader(io.RawIOBase):
    """Reads the tar stream of entries without ever holding more than one chunk of it."""

    def __init__(self, entries: Iterable[FileEntry]) -> None:
        self._segments = segments_of(entries)
        self._current: BinaryIO = io.BytesIO()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the current piece; 0 only at the end."""
        while True:
            chunk = self._current.read(min(len(buffer), CHUNK_BYTES))
            if chunk:
                buffer[: len(chunk)] = chunk
                return len(chunk)
            self._current.close()
            segment = next(self._segments, None)
            if segment is None:
                self._current = io.BytesIO()
                return 0
            self._current = segment.open("rb") if isinstance(segment, Path) else io.BytesIO(segment)

    def close(self) -> None:
        """Close the file that is being read."""
        self._current.close()
        super().close()


def open_tar(entries: Iterable[FileEntry]) -> BinaryIO:
    """A readable stream of the entries' tar bytes."""
    return io.BufferedReader(TarReader(entries), buffer_size=CHUNK_BYTES)
