"""Downloading a model: whole or not at all, hashed on the way, checked against its listing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from hashlib import file_digest
from pathlib import Path
from threading import Lock

from runbake.crew import Crew
from runbake.errors import ArtifactChanged, ArtifactMissing, NoModel, TrackingError
from runbake.tracking._artifacts import ArtifactStore, files_in, store_at
from runbake.tracking._door import Door
from runbake.tracking._mlmodel import LARGEST_BYTES, SMALL, description_of
from runbake.tracking.run import FetchedFile, FetchedModel, ModelDescription, ModelFile, PromotedRun

_THREADS = 4  # hides the latency of many small files; each holds one mebibyte
_SHOWN = 5
_RUN_AGAIN = "is somebody still logging to this model? Run it again when they are done"

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

Arrived = Callable[[str, Path, int], None]
"""Called with a file's path in the model, where it is being written, and how many of its bytes are there;
fewer than before when it begins anew."""


def describe(door: Door, run: PromotedRun) -> ModelDescription:
    """See `Tracking.describe_model`."""
    small = tuple(file for file in run.files if file.path in SMALL)
    for file in small:
        if file.size_bytes > LARGEST_BYTES:
            raise NoModel(f"{file.path} is larger than {LARGEST_BYTES >> 20} MiB")
    with (
        door.translated(f"files of model {run.model_name!r}", missing=ArtifactMissing),
        tempfile.TemporaryDirectory() as name,
        Crew() as crew,
    ):
        store, root = store_at(door, run.model_uri), Path(name)
        crew.each(lambda file: store.fetch(file.path, root / file.path, _ignored), small, threads=_THREADS)
        return description_of(root, _paths(run.files))


def _ignored(_arrived: int) -> None:
    """Small files need no progress."""


def _paths(files: tuple[ModelFile, ...]) -> frozenset[str]:
    return frozenset(file.path for file in files)


def fetch(
    door: Door,
    run: PromotedRun,
    destination: Path,
    *,
    described: ModelDescription | None = None,
    progress: Progress | None = None,
    arrived: Arrived | None = None,
) -> FetchedModel:
    """See `Tracking.fetch_model`."""
    with door.translated(f"files of model {run.model_name!r}", missing=ArtifactMissing):
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
        try:
            tree = scratch / "model"
            tree.mkdir()
            transfer = _Transfer(store_at(door, run.model_uri), tree, run.files, progress, arrived)
            files = transfer.carry_out()
            description = description_of(tree, _paths(run.files))
            if described not in (None, description):
                raise ArtifactChanged("the model's description changed while it was read", hint=_RUN_AGAIN)
            root = _settle(tree, destination, files)
        finally:
            # After an interruption, a thread that waits for a server may still have a file open.
            shutil.rmtree(scratch, ignore_errors=True)
    said = {field.name: getattr(description, field.name) for field in fields(description)}
    return FetchedModel(root=root, files=files, **said)


class _Transfer:
    """A model's files on their way into `tree`."""

    def __init__(
        self,
        store: ArtifactStore,
        tree: Path,
        wanted: tuple[ModelFile, ...],
        progress: Progress | None,
        arrived: Arrived | None,
    ) -> None:
        self._store, self._tree, self._wanted = store, tree, wanted
        self._progress, self._arrived = progress, arrived
        self._total, self._done, self._mutex = sum(file.size_bytes for file in wanted), 0, Lock()

    def carry_out(self) -> tuple[FetchedFile, ...]:
        with Crew() as crew:
            files = tuple(crew.each(lambda file: self._fetch(file, crew), self._wanted, threads=_THREADS))
        _refuse_change(self._wanted, tuple(ModelFile(path=f.path, size_bytes=f.size_bytes) for f in files))
        _refuse_change(self._wanted, files_in(self._store))
        return files

    def _fetch(self, file: ModelFile, crew: Crew) -> FetchedFile:
        target, there = self._tree / file.path, 0

        def on_bytes(size_bytes: int) -> None:
            nonlocal there
            crew.check()
            there += size_bytes
            self._count(size_bytes)
            if size_bytes and self._arrived is not None:
                self._arrived(file.path, target, there)

        on_bytes(0)  # whoever wants to stop this raises from `progress`, and no more files are begun
        digest = self._store.fetch(file.path, target, on_bytes)
        return FetchedFile(path=file.path, size_bytes=target.stat().st_size, sha256=digest)

    def _count(self, size_bytes: int) -> None:
        with self._mutex:
            self._done += size_bytes
            if self._progress is not None:
                self._progress(self._done, self._total)


def _refuse_change(before: tuple[ModelFile, ...], after: tuple[ModelFile, ...]) -> None:
    if before == after:
        return
    then, now = ({f.path: f.size_bytes for f in files} for files in (before, after))
    changes = [
        f"{path!r} ({_size(then.get(path))}, now {_size(now.get(path))})"
        for path in sorted(then.keys() | now.keys())
        if then.get(path) != now.get(path)
    ]
    more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    raise ArtifactChanged(
        f"the model's files changed while they were read: {', '.join(changes[:_SHOWN])}{more}",
        hint=_RUN_AGAIN,
    )


def _size(size_bytes: int | None) -> str:
    return "not there" if size_bytes is None else f"{size_bytes} bytes"


def _settle(tree: Path, destination: Path, files: tuple[FetchedFile, ...]) -> Path:
    """Give the tree its name; where another process was first, its tree, if it is the same."""
    try:
        return tree.rename(destination)
    except OSError as error:
        if not destination.is_dir():
            raise TrackingError(
                f"cannot write the model to {str(destination)!r}: {error.strerror}"
            ) from error
    if _on_disk(destination) != {file.path: file.sha256 for file in files}:
        raise TrackingError(
            f"{str(destination)!r} holds something else than this model",
            hint="remove it, or name another directory",
        )
    return destination


def _on_disk(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): _sha256_of(p) for p in root.rglob("*") if p.is_file()}


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
