"""What a file's name says of it, and compressed text as a stream."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from runbake_serving.batch.failures import BadSpec, BatchFailure
from runbake_serving.protocols.arrow_here import HAS_ARROW

_SUFFIXES: Final = {
    "parquet": "parquet",
    "pq": "parquet",
    "csv": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}
_COMPRESSIONS: Final = {"gz": "gz", "zst": "zst"}
NEED_ARROW: Final = ("parquet", "arrow")


def format_of(uri: str, asked: str | None) -> str:
    """The format of a file: as asked for, else by its name.

    Raises:
        BadSpec: its name tells none.
    """
    if asked is not None:
        return asked
    words = uri.rsplit("/", 1)[-1].lower().split(".")
    if len(words) > 2 and words[-1] in _COMPRESSIONS:
        words.pop()
    if len(words) < 2 or words[-1] not in _SUFFIXES:
        raise BadSpec(
            f"the name of {uri} tells no format",
            hint=f"--input-format, or a glob that names only files of {', '.join(sorted(set(_SUFFIXES)))}",
        )
    return _SUFFIXES[words[-1]]


def compression_of(uri: str) -> str:
    """`gz`, `zst`, or empty."""
    return _COMPRESSIONS.get(uri.lower().rsplit(".", 1)[-1], "")


def check_arrow(what: str) -> None:
    """Return where this image has Arrow.

    Raises:
        BatchFailure: it has not.
    """
    if not HAS_ARROW:
        raise BatchFailure(
            f"{what} needs Arrow, which this image was built without",
            hint="runbake containerize --with arrow; csv and jsonl work without it (--output-format)",
        )


@contextmanager
def unpacked(file: BinaryIO, uri: str) -> Iterator[BinaryIO]:
    """The text in a file that may be compressed.

    Raises:
        BatchFailure: it is damaged, cut off, or cannot be unpacked in this image.
    """
    compression = compression_of(uri)
    try:
        if compression == "gz":
            with gzip.open(file, "rb") as stream:
                yield stream  # type: ignore[misc]  # typeshed tells gzip's reader by a class of its own
        elif compression == "zst":
            with _unpacked_zst(file, uri) as stream:
                yield stream
        else:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BatchFailure(f"{uri} is damaged or cut off: it cannot be unpacked") from error


class _Lent(io.RawIOBase):
    """A file that stays open: Arrow closes what it reads from, and its owner reads it again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _unpacked_zst(file: BinaryIO, uri: str) -> Iterator[Any]:
    check_arrow(f"zstd ({uri})")
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.PythonFile(_Lent(file), mode="r"), "zstd") as stream:
            yield stream
    except OSError as error:
        raise BatchFailure(f"{uri} is damaged or cut off: it cannot be unpacked") from error
