"""The files that a container of some layers would see, under the paths that matter, with their digests."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from runbake.errors import VerificationFailed
from runbake.image import Digest

_CHUNK_BYTES = 1 << 20
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a layer does to one path: `path` has no slash in front; `sha256` is set for files."""

    kind: Literal["file", "link", "removed", "emptied"]
    path: PurePosixPath
    sha256: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedLayer:
    """A layer's own digest of its tar, and what it does under the paths that matter."""

    diff_id: Digest
    changes: tuple[Change, ...]


class _Hashed:
    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self.hash = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.hash.update(data)
        return data


def scanned(blob: Path, digest: Digest, *, is_gzip: bool, roots: tuple[PurePosixPath, ...]) -> ScannedLayer:
    """Read a layer whose stored bytes have this digest; only what touches `roots` is kept.

    Raises:
        VerificationFailed: it is no tar, or a name in it leads out of the image.
    """
    try:
        if not is_gzip:
            # The bytes were hashed when they came.
            with tarfile.open(blob, mode="r:") as tar:
                return ScannedLayer(diff_id=digest, changes=tuple(_changes(tar, roots, blob)))
        with gzip.open(blob) as stream:
            hashed = _Hashed(stream)
            with tarfile.open(fileobj=hashed, mode="r|", bufsize=_CHUNK_BYTES) as tar:  # type: ignore[call-overload]
                changes = tuple(_changes(tar, roots))
            while hashed.read(_CHUNK_BYTES):
                pass
        return ScannedLayer(diff_id=Digest(f"sha256:{hashed.hash.hexdigest()}"), changes=changes)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeError) as error:
        raise VerificationFailed(f"layer {digest} cannot be read: {error}"[:300]) from error


def _changes(
    tar: tarfile.TarFile, roots: tuple[PurePosixPath, ...], stored: Path | None = None
) -> Iterator[Change]:
    for member in tar:
        path = _path_of(member.name)
        if not any(path == root or root in path.parents or path in root.parents for root in roots):
            continue
        if path.name == _OPAQUE:
            yield Change(kind="emptied", path=path.parent)
        elif path.name.startswith(_WHITEOUT):
            yield Change(kind="removed", path=path.with_name(path.name.removeprefix(_WHITEOUT)))
        elif member.isreg():
            if stored is not None and not member.issparse():
                yield _stored_file(stored, member, path)
            else:
                yield _file(tar, member, path)
        elif not member.isdir():
            yield Change(kind="link", path=path)


def _path_of(name: str) -> PurePosixPath:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise VerificationFailed(f"a layer names {name[:200]!r}, which is outside of the image")
    return PurePosixPath(*parts)


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: PurePosixPath) -> Change:
    digest, source = hashlib.sha256(), tar.extractfile(member)
    while source is not None and (chunk := source.read(_CHUNK_BYTES)):
        digest.update(chunk)
    return Change(kind="file", path=path, sha256=digest.hexdigest(), size_bytes=member.size)


def _stored_file(blob: Path, member: tarfile.TarInfo, path: PurePosixPath) -> Change:
    """Hashed where it lies: half a gigabyte of weights is not copied once more."""
    digest = hashlib.sha256()
    end = member.offset_data + member.size
    with (
        blob.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
        view[member.offset_data : end] as part,
    ):
        digest.update(part)
        if len(part) != member.size:
            raise VerificationFailed(f"a layer ends within {str(path)[:200]!r}")
    return Change(kind="file", path=path, sha256=digest.hexdigest(), size_bytes=member.size)


def seen_files(layers: Iterable[ScannedLayer]) -> dict[str, Change]:
    """The files and links that a container sees, by absolute path; a later layer hides what was before.

    Source: OCI image-spec v1.1, layer.md, "Whiteouts".
    """
    seen: dict[PurePosixPath, Change] = {}
    for layer in layers:
        # A layer's whiteouts are about the layers below it, wherever they stand in its tar.
        for change in layer.changes:
            if change.kind in ("removed", "emptied"):
                _hide(seen, change.path, itself=change.kind == "removed")
        for change in layer.changes:
            if change.kind in ("file", "link"):
                _hide(seen, change.path, itself=True)
                seen[change.path] = change
    return {f"/{path}": change for path, change in seen.items()}


def _hide(seen: dict[PurePosixPath, Change], path: PurePosixPath, *, itself: bool) -> None:
    for there in [each for each in seen if path in each.parents or (itself and each == path)]:
        del seen[there]
