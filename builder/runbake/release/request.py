"""What a caller asks of a release, and the doors that it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runbake.base import Host
from runbake.environment import Uv
from runbake.image import Format
from runbake.registry import ImageRef, Registry
from runbake.release.proving import Prover
from runbake.release.story import Story
from runbake.store import Store
from runbake.tracking import ByExperiment, RunRef, Tracking

ModelLayer = Literal["auto", "gzip", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `runbake containerize`, as asked.

    `tags` empty means the default `run-<12 hex>`. `lock_date` and `created` are RFC 3339, "" for the run's
    end.
    """

    run: RunRef | ByExperiment
    model_name: str
    base: ImageRef
    platforms: tuple[str, ...]
    repository: ImageRef | None
    tags: tuple[str, ...]
    layout: Path | None
    archive: Path | None
    image_format: Format
    model_layer: ModelLayer
    bytecode: bool
    whole_wheels: bool
    additions: tuple[str, ...]
    prove: bool
    allow_unpromoted: bool
    allow_unproven: bool
    move_tag: bool
    relock: bool
    lock_date: str
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The outside systems that a release talks to, each through its one door.

    `prover` is asked for when there is something to prove, and not before.
    """

    tracking: Tracking
    registry: Callable[[str], Registry]
    prover: Callable[[], Prover]
    uv: Uv
    store: Store
    host: Host
    story: Story
