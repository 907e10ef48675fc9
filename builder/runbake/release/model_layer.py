"""The model's layer: its files, how they are stored, and its digest, taken while they still arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

from runbake.image import GZIP, STORED, Codec, FileEntry
from runbake.image.blob import CHUNK_BYTES
from runbake.image.codec import Packed
from runbake.image.tar import segments_of
from runbake.release.request import Request
from runbake.tracking import FetchedFile, ModelFile
from runbake_serving import contract


def model_codec(request: Request) -> Codec:
    """How the model's layer is stored."""
    wanted = request.model_layer
    if wanted == "auto":
        # Weights hardly compress; but AWS consumers of Docker's format expect gzip.
        wanted = "gzip" if request.image_format == "docker" else "none"
    return GZIP if wanted == "gzip" else STORED


def model_entries(root: Path, files: Iterable[ModelFile | FetchedFile]) -> tuple[FileEntry, ...]:
    """The files of the model's layer, which lie under `root`."""
    there = contract.MODEL_ROOT.lstrip("/")
    return tuple(
        FileEntry(path=f"{there}/{file.path}", content=root / file.path, size_bytes=file.size_bytes)
        for file in files
    )


class ArrivingLayer:
    """Hashes a stored layer in the order of its tar, as far as its files have arrived.

    What was just written is still in memory, and the processor waits for the server anyway. For 500 MB that
    saves half a second of reading everything once more afterwards.
    """

    def __init__(self, files: tuple[ModelFile, ...]) -> None:
        self._sizes = {Path(file.path): file.size_bytes for file in files}
        self._arrived: dict[Path, int] = {}
        self._places: dict[Path, Path] = {}
        self._digest, self._size_bytes, self._is_void = hashlib.sha256(), 0, False
        self._pauses, self._mutex = self._hash(model_entries(Path(), files)), Lock()

    def arrived(self, path: str, place: Path, size_bytes: int) -> None:
        """So much of a file is there; from any thread, and one of them hashes on."""
        name = Path(path)
        # A download that begins anew may bring other bytes than those that are hashed already.
        if size_bytes < self._arrived.get(name, 0):
            self._is_void = True
        self._places[name], self._arrived[name] = place, size_bytes
        if not self._is_void and self._mutex.acquire(blocking=False):
            try:
                next(self._pauses, None)
            except FileNotFoundError:
                self._is_void = True  # removed this moment, to begin anew
            finally:
                self._mutex.release()

    def finished(self, root: Path) -> Packed | None:
        """The layer's digests, now that all files are under `root`; None where they must be taken anew."""
        if self._is_void:
            return None
        self._places = {name: root / name for name in self._sizes}
        self._arrived = dict(self._sizes)
        for _ in self._pauses:
            return None  # a file is shorter than it was listed
        digest = self._digest.hexdigest()
        return Packed(sha256=digest, size_bytes=self._size_bytes, diff_sha256=digest)

    def _hash(self, entries: tuple[FileEntry, ...]) -> Iterator[None]:
        """Goes on to what has not arrived, and pauses there."""
        for segment in segments_of(entries):
            if isinstance(segment, bytes):
                self._add(segment)
                continue
            if self._sizes[segment]:
                yield from self._hash_file(segment)

    def _hash_file(self, name: Path) -> Iterator[None]:
        while name not in self._places:
            yield
        with self._places[name].open("rb", buffering=0) as file:
            done = 0
            while done < self._sizes[name]:
                chunk = file.read(max(min(self._arrived[name] - done, CHUNK_BYTES), 0))
                if not chunk:
                    yield
                self._add(chunk)
                done += len(chunk)

    def _add(self, data: bytes) -> None:
        self._digest.update(data)
        self._size_bytes += len(data)
