"""Layers onto disk, one over the other, without root and without a way out of the directory.

Owners, times, set-user bits and device nodes are left behind: the tree is read, and its Python run, never
booted. Every link is made relative and kept inside, so that following it by the kernel stays inside too.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from runbake.errors import BaseImageError, DigestMismatch
from runbake.image.blob import CHUNK_BYTES, Digest

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class _HashedReader:
    """Passes a stream through and hashes what went by."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.hash.update(data)
        return data


def apply_layer(blob: Path, diff_id: Digest, root: Path) -> None:
    """Put one layer over what lies in `root`, whiteouts included.

    Raises:
        BaseImageError: the layer is no gzip or plain tar, or a name in it leaves the root.
        DigestMismatch: its uncompressed bytes are not the configuration's.

    Source: OCI image-spec v1.1, layer.md.
    """
    written: set[Path] = set()
    root = root.resolve()
    try:
        with _uncompressed(blob) as stream:
            hashed = _HashedReader(stream)
            with tarfile.open(fileobj=hashed, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    _apply(tar, member, root, written)
            while hashed.read(CHUNK_BYTES):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BaseImageError(f"a layer of the base image cannot be unpacked: {error}") from error
    found = Digest("sha256:" + hashed.hash.hexdigest())
    if found != diff_id:
        raise DigestMismatch(
            f"a layer of the base image unpacks to {found}, its configuration says {diff_id}",
            hint="the base image is damaged: push it again, or choose another (--base)",
        )


@contextmanager
def _uncompressed(blob: Path) -> Iterator[BinaryIO]:
    with blob.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic == _ZSTD_MAGIC:
            raise BaseImageError(
                "the base image's layers are compressed with zstd, which older engines cannot read either",
                hint="push the base image with gzip layers, or choose another (--base)",
            )
        if magic.startswith(_GZIP_MAGIC):
            with gzip.open(raw, "rb") as stream:
                yield stream  # type: ignore[misc]
        else:
            yield raw


def _apply(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, written: set[Path]) -> None:
    parts = _parts_of(member.name)
    if not parts:
        return
    parent = _parent_in(root, parts[:-1])
    name = parts[-1]
    if name == _OPAQUE:
        _empty(parent, except_for=written)
    elif name.startswith(_WHITEOUT):
        (hidden,) = _parts_of(name.removeprefix(_WHITEOUT)) or [name]
        _remove(parent / hidden)
    elif member.isdir():
        _make_directory(parent / name)
        written.add(parent / name)
    elif member.isreg() or member.issym() or member.islnk():
        _remove(parent / name)
        _write(tar, member, parent / name, root)
        written.update((parent / name, *(parent / name).parents))


def _parts_of(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise BaseImageError(
            f"a layer of the base image names {name[:200]!r}, which is outside of it",
            hint="the image is broken or hostile: choose another (--base)",
        )
    return parts


def _parent_in(root: Path, parts: Sequence[str]) -> Path:
    """The real directory of these parts, made where missing; links in it were made safe by `_write`."""
    here = root
    for part in parts:
        following = here / part
        if following.is_symlink():
            following = _parent_in(root, _followed(root, following).relative_to(root).parts)
        if not following.is_dir():
            _remove(following)
            following.mkdir(mode=0o755)
        here = following
    return here


def _followed(root: Path, link: Path) -> Path:
    try:
        link.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BaseImageError(f"a link of the base image leads to itself: {link.name!r}") from error
    resolved = Path(os.path.realpath(link))
    if not resolved.is_relative_to(root):
        raise BaseImageError(f"a link of the base image leaves it: {link.name!r}")
    return resolved


def _make_directory(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        return
    _remove(path)
    path.mkdir(mode=0o755)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    if member.issym():
        path.symlink_to(_relative_target(member.linkname, path.parent, root))
    elif member.islnk():
        _link(member.linkname, path, root)
    else:
        source = tar.extractfile(member)
        with path.open("wb") as out:
            if source is not None:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
        path.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)


def _relative_target(target: str, parent: Path, root: Path) -> str:
    """The link's target relative to its directory; climbing stops at the root, as in a chroot."""
    inside = [] if target.startswith("/") else list(parent.relative_to(root).parts)
    for part in target.split("/"):
        if part == "..":
            del inside[-1:]
        elif part not in ("", "."):
            inside.append(part)
    return os.path.relpath(root.joinpath(*inside), parent)


def _link(target: str, path: Path, root: Path) -> None:
    parts = _parts_of(target)
    if not parts:
        raise BaseImageError(f"a hard link of the base image has no target: {path.name!r}")
    source = _parent_in(root, parts[:-1]) / parts[-1]
    if source.is_symlink():
        aimed = os.path.normpath(source.parent / source.readlink())
        path.symlink_to(os.path.relpath(aimed, path.parent))
        return
    try:
        path.hardlink_to(source)
    except FileNotFoundError as error:
        raise BaseImageError(f"a hard link of the base image leads nowhere: {target[:200]!r}") from error
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.ENOTSUP):
            raise
        shutil.copy2(source, path)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def _empty(directory: Path, *, except_for: set[Path]) -> None:
    # An opaque mark hides lower layers only, wherever in the layer it stands.
    for child in directory.iterdir():
        if child not in except_for:
            _remove(child)
        elif child.is_dir() and not child.is_symlink():
            _empty(child, except_for=except_for)
