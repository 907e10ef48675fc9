"""`batch`: load the model, take over the signals, and do the job."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbake_serving.batch.run import Subject, World, finish, run
from runbake_serving.batch.shards import Shard
from runbake_serving.batch.spec import JobSpec, MaxRejects
from runbake_serving.batch.workers import Stop
from runbake_serving.contract import BATCH_MANIFEST
from runbake_serving.label.provenance import Provenance
from runbake_serving.model.model import load_model
from runbake_serving.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What command line and environment say; `checked` waits until the model's files were found right."""

    settings: Settings
    provenance: Provenance | None
    checked: Callable[[], None]
    cpus: float
    scratch: Path
    path_style: bool


def finished(start: Start, output: str, max_rejects: MaxRejects | None) -> tuple[int, str]:
    """Sum up what shards did: the exit status, and where the manifest is.

    Raises:
        StartError: the model cannot be used.
        BatchFailure: parts are missing, or too many rows were rejected.
    """
    world, subject = _ready(start)
    return finish(output, max_rejects, subject, world), f"{output.rstrip('/')}/{BATCH_MANIFEST}"


def done(start: Start, spec: JobSpec, shard: Shard | None) -> tuple[int, str]:
    """Do the job: the exit status, and where the result is.

    Raises:
        StartError: the model cannot be used.
        BatchFailure: the job cannot be done, or not wholly.
    """
    world, subject = _ready(start)
    status = run(spec, subject, world, shard)
    return status, spec.output if shard else f"{spec.output.rstrip('/')}/{BATCH_MANIFEST}"


def _ready(start: Start) -> tuple[World, Subject]:
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    world = World(
        cpus=start.cpus,
        grace_s=start.settings.grace_s,
        now_s=time.monotonic,
        now=time.time,
        stderr=sys.stderr,
        stop=stop,
        scratch=start.scratch,
        path_style=start.path_style,
    )
    start.checked()
    settings = start.settings
    model = load_model(
        settings.model_root,
        always_dataframe=settings.always_dataframe,
        trusted_types=settings.trusted_types,
    )
    # In the parent, so that no worker imports it again; an image may be without.
    with suppress(ImportError):
        import pyarrow.csv
        import pyarrow.parquet  # noqa: F401
    gc.collect()
    gc.freeze()
    subject = Subject(
        model=model,
        root=settings.model_root,
        provenance=start.provenance,
        image_digest=settings.image_digest,
    )
    return world, subject
