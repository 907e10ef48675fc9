"""Blobs on this machine: what was made once, by digest and by recipe.

A recipe is a hash of everything that a layer's bytes depend on. Losing the store loses time, nothing else, so
what was used least recently goes when there is too much, save what a running build may hold.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from runbake.errors import ConfigError, DiskFull
from runbake.image import Codec, FileEntry, Layer, Packed, layer_of_packed, open_tar, pack
from runbake.scratch import left_marks, marked, oldest_begun_at_ns, scratch_directory

_USED = ".used"
"""Of an environment: it is whole, and was last used when this file was touched."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_full_is_named(
    directory: Path, *, hint: str = "free some space, or point --cache (RUNBAKE_CACHE) at another device"
) -> Iterator[None]:
    """Turn "no space left on device" into an error that names the directory.

    Raises:
        DiskFull: the device under `directory` is full, or a quota is reached.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(f"no space left on the device of {directory}", hint=hint) from error


LIMIT_BYTES = 20 * 10**9
"""How much a store keeps where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A blob, an unpacked base or an environment in the store: its size, and when it was last used."""

    path: Path
    size_bytes: int
    used_at_ns: int


class Store:
    """Blobs and recipes under one directory; writers never see each other's half-written files."""

    def __init__(self, root: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self._blobs = root / "blobs" / "sha256"
        self._recipes = root / "recipes"
        self._bases = root / "bases"
        self._environments = root / "environments"
        self._marks = root / "marks"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory on the store's device, removed at the end, or by the next process.

        While it is there, `prune` takes nothing that was used since it was made.

        Raises:
            ConfigError: nothing can be written there.
            DiskFull: the device is full.
        """
        with disk_full_is_named(self.root), ExitStack() as stack:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                directory = stack.enter_context(scratch_directory(self.root))
            except OSError as error:
                if error.errno in _FULL:
                    raise
                raise ConfigError(
                    f"cannot write to the cache {self.root}: {error.strerror}",
                    hint="point --cache (RUNBAKE_CACHE) at a directory of yours",
                ) from error
            yield directory

    def marked(self) -> AbstractContextManager[str]:
        """A name for what this process makes outside of this machine's files; see `scratch.marked`."""
        return marked(self._marks)

    def left_marks(self) -> AbstractContextManager[tuple[str, ...]]:
        """The names whose processes are gone; see `scratch.left_marks`."""
        return left_marks(self._marks)

    def blob_path(self, hex_digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self._blobs / hex_digest

    def open_blob(self, hex_digest: str, fetch: Callable[[Path], None]) -> BinaryIO:
        """The blob of this digest; `fetch` writes it to a file when it is not here.

        Raises:
            DiskFull: the device is full.
        """
        path = self.blob_path(hex_digest)
        with suppress(FileNotFoundError):
            _touch(path)
            return path.open("rb")
        with self.scratch() as directory:
            fetch(directory / "blob")
            self._blobs.mkdir(parents=True, exist_ok=True)
            (directory / "blob").replace(path)
            return path.open("rb")

    def environment(self, name: str, make: Callable[[Path], None]) -> Path:
        """The directory of this name; `make` fills one where there is none.

        What holds a scratch directory of this store meanwhile keeps it from being pruned.

        Raises:
            DiskFull: the device is full.
        """
        place = self._environments / name
        if not (place / _USED).exists():
            with self.scratch() as directory:
                growing = directory / "environment"
                growing.mkdir()
                make(growing)
                (growing / _USED).touch()
                self._environments.mkdir(parents=True, exist_ok=True)
                self._settle(growing, place)
        _touch(place / _USED)
        return place

    def _settle(self, growing: Path, place: Path) -> None:
        # Two processes may have made it at the same moment: the first rename wins, and both are equal.
        try:
            growing.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def layer(
        self,
        recipe: str,
        make_entries: Callable[[], Iterable[FileEntry]],
        codec: Codec,
        *,
        name: str,
        comment: str,
    ) -> Layer:
        """The layer of this recipe: recalled when it is here, made by `make_entries` when not.

        Raises:
            DiskFull: the device is full; nothing is kept.
        """
        packed = self._recalled(recipe)
        if packed is None:
            entries = tuple(make_entries())
            packed = self._made(recipe, entries, codec)
        return layer_of_packed(name, packed, codec, self.blob_path(packed.sha256), comment)

    def _made(self, recipe: str, entries: tuple[FileEntry, ...], codec: Codec) -> Packed:
        with self.scratch() as directory:
            with open_tar(entries) as tar, (directory / "blob").open("wb") as out:
                packed = pack(tar, codec, out)
            (directory / "recipe").write_text(json.dumps(asdict(packed)))
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._recipes.mkdir(parents=True, exist_ok=True)
            (directory / "blob").replace(self.blob_path(packed.sha256))
            (directory / "recipe").replace(self._recipes / recipe)
        return packed

    def knows(self, recipe: str) -> bool:
        """Whether the layer of this recipe would be recalled."""
        return self._recalled(recipe) is not None

    def _recalled(self, recipe: str) -> Packed | None:
        try:
            packed = _packed_in(self._recipes / recipe)
            with self._guarded(fcntl.LOCK_SH):
                blob = self.blob_path(packed.sha256)
                size = blob.stat().st_size
                _touch(blob)
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return packed if size == packed.size_bytes else None

    def forget_damaged(self, hex_digests: Iterable[str]) -> tuple[str, ...]:
        """Remove, and name, those of these blobs whose bytes are not their digests' any more."""
        damaged = tuple(each for each in hex_digests if self._is_damaged(each))
        for each in damaged:
            self.blob_path(each).unlink(missing_ok=True)
        return damaged

    def _is_damaged(self, hex_digest: str) -> bool:
        try:
            with self.blob_path(hex_digest).open("rb") as blob:
                return hashlib.file_digest(blob, "sha256").hexdigest() != hex_digest
        except FileNotFoundError:
            return False
        except OSError:
            return True  # the device cannot read it back

    # --- size --------------------------------------------------------------------------------------------

    def kept(self) -> tuple[Kept, ...]:
        """Everything in the store, the least recently used first."""
        blobs = (_kept(path, path) for path in _children(self._blobs))
        bases = (_kept(path, path / "facts.json") for path in _children(self._bases))
        environments = (_kept(path, path / _USED) for path in _children(self._environments))
        return tuple(sorted((*blobs, *bases, *environments), key=lambda each: each.used_at_ns))

    def prune(self) -> int:
        """Remove what was used least recently until the rest is within the limit; the bytes that it freed.

        What was used since the oldest running build began stays: that build may hold it.
        """
        if not self.root.is_dir():
            return 0
        with self._guarded(fcntl.LOCK_EX):
            held_since = oldest_begun_at_ns(self.root)
            kept = self.kept()
            excess, freed = sum(each.size_bytes for each in kept) - self.limit_bytes, 0
            for each in kept:
                if freed >= excess or (held_since is not None and each.used_at_ns >= held_since):
                    break
                self._remove(each.path)
                freed += each.size_bytes
            self._forget_recipes_without_blobs()
        return freed

    def _remove(self, path: Path) -> None:
        with scratch_directory(self.root) as directory, suppress(FileNotFoundError):
            path.rename(directory / "gone")  # nobody sees half of a base

    def _forget_recipes_without_blobs(self) -> None:
        for recipe in _children(self._recipes):
            try:
                if not self.blob_path(_packed_in(recipe).sha256).exists():
                    recipe.unlink(missing_ok=True)
            except (FileNotFoundError, ValueError, TypeError):
                recipe.unlink(missing_ok=True)

    @contextmanager
    def _guarded(self, how: int) -> Iterator[None]:
        """Between looking at a blob and noting its use, no other process may prune it."""
        # For reading only: the cache may be another user's, who made the lock.
        lock = os.open(self.root / "prune.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)


def _packed_in(recipe: Path) -> Packed:
    return Packed(**json.loads(recipe.read_bytes()))


def _children(directory: Path) -> tuple[Path, ...]:
    return tuple(directory.iterdir()) if directory.is_dir() else ()


def _kept(path: Path, touched: Path) -> Kept:
    """What is at `path`, used last when `touched` was."""
    found = [_stat(each) for each in (path, *path.rglob("*"))]
    used = _stat(touched) or found[0]
    return Kept(
        path=path,
        size_bytes=sum(each.st_size for each in found if each and not stat.S_ISDIR(each.st_mode)),
        used_at_ns=used.st_mtime_ns if used else 0,
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None  # another process removed it meanwhile


def _touch(path: Path) -> None:
    with suppress(PermissionError):  # another user's
        os.utime(path)
