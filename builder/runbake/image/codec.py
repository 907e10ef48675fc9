"""How a layer's tar is stored: as it is, or as gzip whose bytes do not depend on the host.

zlib's bytes follow whatever zlib a Python links, isal's and zlib-ng's follow the CPU. libdeflate's were equal
on three CPUs and do not depend on threads, because every member is compressed from one whole buffer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from typing import BinaryIO, Literal

import deflate

from runbake.image.blob import chunks_of

Compression = Literal["gzip", "none", "zstd"]

MEMBER_BYTES = 4 << 20
"""Each gzip member holds this much of the tar; RFC 1952 lets a file be a series of members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A way to store a tar; equal `id` and equal tar give equal bytes."""

    compression: Literal["gzip", "none"]
    level: int = 0

    @property
    def id(self) -> str:
        """What provenance records: the implementation, its version, level and member size."""
        if self.compression == "none":
            return "tar"
        return f"gzip:libdeflate-{version('deflate')}:l{self.level}:{MEMBER_BYTES >> 20}MiB"


GZIP = Codec(compression="gzip", level=6)
STORED = Codec(compression="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What packing found out: hex sha256 and size of the stored bytes, and hex sha256 of the tar."""

    sha256: str
    size_bytes: int
    diff_sha256: str


def pack(tar: BinaryIO, codec: Codec, out: BinaryIO | None, *, threads: int = 2) -> Packed:
    """Store a tar stream; `out` is None when only the digests are wanted."""
    raw, stored, size = hashlib.sha256(), hashlib.sha256(), 0
    for chunk, member in _members(tar, codec, threads):
        raw.update(chunk)
        if member is not chunk:
            stored.update(member)
        size += len(member)
        if out is not None:
            out.write(member)
    digest = raw if codec.compression == "none" else stored
    return Packed(sha256=digest.hexdigest(), size_bytes=size, diff_sha256=raw.hexdigest())


def _members(tar: BinaryIO, codec: Codec, threads: int) -> Iterator[tuple[bytes, bytes]]:
    chunks = chunks_of(tar, MEMBER_BYTES)
    if codec.compression == "none":
        yield from ((chunk, chunk) for chunk in chunks)
        return
    # libdeflate releases the GIL; a window of two members a thread bounds the memory.
    with ThreadPoolExecutor(threads) as pool:
        while window := list(islice(chunks, 2 * threads)):
            members = pool.map(lambda chunk: bytes(deflate.gzip_compress(chunk, codec.level)), window)
            yield from zip(window, members, strict=True)
