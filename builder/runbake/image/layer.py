"""A layer: stored tar bytes with the two digests that images know them by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runbake.image.blob import Blob, Digest
from runbake.image.codec import STORED, Codec, Compression, Packed, pack
from runbake.image.entry import FileEntry
from runbake.image.tar import open_tar


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an image.

    `blob.digest` is of the stored bytes, `diff_id` of the tar. `origin` names a repository of the same
    registry that already holds the blob, or is "". `comment` says what is in it, for `docker history`.
    """

    name: str
    blob: Blob
    diff_id: Digest
    compression: Compression
    comment: str
    origin: str = ""


def layer_of_packed(name: str, packed: Packed, codec: Codec, source: Path, comment: str) -> Layer:
    """The layer whose stored bytes lie in a file."""
    return Layer(
        name=name,
        blob=Blob(
            digest=Digest("sha256:" + packed.sha256),
            size_bytes=packed.size_bytes,
            open=lambda: source.open("rb"),
        ),
        diff_id=Digest("sha256:" + packed.diff_sha256),
        compression=codec.compression,
        comment=comment,
    )


def stored_layer(name: str, entries: Iterable[FileEntry], comment: str) -> Layer:
    """Make an uncompressed layer that is read from its files each time; nothing is written.

    Raises:
        DuplicatePath: two entries name one path.
    """
    files = tuple(entries)
    with open_tar(files) as tar:
        packed = pack(tar, STORED, None)
    digest = Digest("sha256:" + packed.sha256)
    return Layer(
        name=name,
        blob=Blob(digest=digest, size_bytes=packed.size_bytes, open=lambda: open_tar(files)),
        diff_id=digest,
        compression="none",
        comment=comment,
    )
