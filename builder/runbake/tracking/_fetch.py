"""Downloading a model: whole or not at all, hashed on the way, checked against its listing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import file_digest
from pathlib import Path
from threading import Lock

from runbake.errors import ArtifactChanged, ArtifactMissing, TrackingError
from runbake.tracking._artifacts import ArtifactStore, OnBytes, files_in, store_at
from runbake.tracking._door import Door
from runbake.tracking._mlmodel import description_of
from runbake.tracking.run import FetchedFile, FetchedModel, ModelFile, PromotedRun

_THREADS = 4  # hides the latency of many small files; each holds one mebibyte
_SHOWN = 5


def fetch(
    door: Door,
    run: PromotedRun,
    destination: Path,
    *,
    progress: Callable[[int, int], None] | None,
) -> FetchedModel:
    """See `Tracking.fetch_model`."""
    with door.translated(f"files of model {run.model_name!r}", missing=ArtifactMissing):
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
        try:
            tree = scratch / "model"
            tree.mkdir()
            files = _download(store_at(door, run.model_uri), run.files, tree, progress)
            description = description_of(tree)
            root = _settle(tree, destination, files)
        finally:
            shutil.rmtree(scratch)
    return FetchedModel(
        root=root,
        files=files,
        flavors=description.flavors,
        mlflow_version=description.mlflow_version,
        python_version=description.python_version,
        requirements=description.requirements,
        constraints=description.constraints,
        signature_json=description.signature_json,
        metadata_json=description.metadata_json,
        input_example=description.input_example,
        serving_input_example=description.serving_input_example,
    )


def _download(
    store: ArtifactStore,
    wanted: tuple[ModelFile, ...],
    tree: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[FetchedFile, ...]:
    on_bytes = _counter(sum(file.size_bytes for file in wanted), progress)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            files = tuple(pool.map(partial(_download_one, store, tree, on_bytes), wanted))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # the first failure ends the rest
            raise
    _refuse_change(wanted, tuple(ModelFile(path=f.path, size_bytes=f.size_bytes) for f in files))
    _refuse_change(wanted, files_in(store))
    return files


def _download_one(store: ArtifactStore, tree: Path, on_bytes: OnBytes, file: ModelFile) -> FetchedFile:
    target = tree / file.path
    digest = store.fetch(file.path, target, on_bytes)
    return FetchedFile(path=file.path, size_bytes=target.stat().st_size, sha256=digest)


def _counter(total: int, progress: Callable[[int, int], None] | None) -> OnBytes:
    lock, done = Lock(), 0

    def on_bytes(arrived: int) -> None:
        nonlocal done
        with lock:
            done += arrived
            if progress is not None:
                progress(done, total)

    return on_bytes


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
        hint="is somebody still logging to this model? Run it again when they are done",
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
