"""The smallest nouns of an image: a digest, a descriptor, and bytes that can be read again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20


class Digest(str):
    """`sha256:` and 64 lower-case hex digits; `str(Digest(s)) == s` for every digest `s`.

    Raises:
        ValueError: the text is anything else.

    Source: OCI image-spec v1.1, descriptor.md, "Digests"; sha256 is the only algorithm that runbake writes.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if not _DIGEST.fullmatch(text):
            raise ValueError(f"not a sha256 digest: {text[:80]!r}")
        return super().__new__(cls, text)

    @property
    def hex(self) -> str:
        """The 64 hex digits."""
        return self[7:]

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of these bytes."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says of a blob.

    Source: OCI image-spec v1.1, descriptor.md.
    """

    media_type: str
    digest: Digest
    size_bytes: int
    annotations: tuple[tuple[str, str], ...] = ()
    platform: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""

    def to_json(self) -> dict[str, object]:
        """The descriptor as the specification spells it."""
        document: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size_bytes,
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform:
            document["platform"] = dict(self.platform)
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes with a known digest that can be opened as often as an upload needs.

    `open` returns a new readable binary stream at position 0 each time and never holds the whole blob in
    memory when the blob lives on disk.
    """

    digest: Digest
    size_bytes: int
    open: Callable[[], BinaryIO]

    @classmethod
    def of_bytes(cls, data: bytes) -> Blob:
        """The blob of bytes in memory."""
        return cls(digest=Digest.of(data), size_bytes=len(data), open=lambda: BytesIO(data))


def chunks_of(stream: BinaryIO, size_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The stream's bytes in order, at most `size_bytes` at a time, to its end."""
    while chunk := stream.read(size_bytes):
        yield chunk
