"""Blobs on this machine: what was made once, by digest and by recipe.

A recipe is a hash of everything that a layer's bytes depend on. Losing the store loses time, nothing else.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from runbake.errors import ConfigError, DiskFull
from runbake.image import Codec, FileEntry, Layer, Packed, layer_of_packed, open_tar, pack

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


class Store:
    """Blobs and recipes under one directory; writers never see each other's half-written files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._recipes = root / "recipes"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory on the store's device, removed at the end.

        Raises:
            ConfigError: nothing can be written there.
            DiskFull: the device is full.
        """
        with disk_full_is_named(self.root):
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                made = tempfile.TemporaryDirectory(dir=self.root, prefix="tmp-")
            except OSError as error:
                if error.errno in _FULL:
                    raise
                raise ConfigError(
                    f"cannot write to the cache {self.root}: {error.strerror}",
                    hint="point --cache (RUNBAKE_CACHE) at a directory of yours",
                ) from error
            with made as directory:
                yield Path(directory)

    def blob_path(self, hex_digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self._blobs / hex_digest

    def write_blob(self, write: Callable[[BinaryIO], Packed]) -> Packed:
        """Keep what `write` writes, under the digest that it reports.

        Raises:
            DiskFull: the device is full; nothing is kept.
        """
        with disk_full_is_named(self.root):
            self._blobs.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._blobs, prefix="tmp-")
            partial = Path(name)
            try:
                with os.fdopen(handle, "wb") as out:
                    packed = write(out)
                partial.replace(self.blob_path(packed.sha256))
            finally:
                partial.unlink(missing_ok=True)
        return packed

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
            DiskFull: the device is full.
        """
        packed = self._recalled(recipe)
        if packed is None:
            entries = tuple(make_entries())
            with open_tar(entries) as tar:
                packed = self.write_blob(lambda out: pack(tar, codec, out))
            self._remember(recipe, packed)
        return layer_of_packed(name, packed, codec, self.blob_path(packed.sha256), comment)

    def knows(self, recipe: str) -> bool:
        """Whether the layer of this recipe would be recalled."""
        return self._recalled(recipe) is not None

    def _recalled(self, recipe: str) -> Packed | None:
        try:
            document = json.loads((self._recipes / recipe).read_bytes())
            packed = Packed(**document)
            size = self.blob_path(packed.sha256).stat().st_size
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return packed if size == packed.size_bytes else None

    def _remember(self, recipe: str, packed: Packed) -> None:
        with disk_full_is_named(self.root):
            self._recipes.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._recipes, prefix="tmp-")
            partial = Path(name)
            try:
                with os.fdopen(handle, "w") as out:
                    json.dump(asdict(packed), out)
                partial.replace(self._recipes / recipe)
            finally:
                partial.unlink(missing_ok=True)
