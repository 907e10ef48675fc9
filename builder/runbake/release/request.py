"""What a caller asks of a release, and the doors that it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runbake.base import Host
from runbake.environment import Lock, Uv
from runbake.gocd import Invocation
from runbake.image import Digest, Format
from runbake.registry import ImageRef, Registry
from runbake.release.base_name import BaseName
from runbake.release.proving import Prover
from runbake.release.story import Story
from runbake.store import Store
from runbake.tracking import ByExperiment, RunRef, Tracking

if TYPE_CHECKING:
    from runbake.release.attesting import Attester

ModelLayer = Literal["auto", "gzip", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What one platform of an image was made on and with: nothing is left to resolve."""

    platform: str
    base: Digest
    lock: Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `runbake containerize`, as asked.

    `tags` empty means the default `run-<12 hex>`. `lock_date` and `created` are RFC 3339, "" for the run's
    end. `pinned` names base and lock of every platform for an image that was made before, and is else empty.
    `trusted_types` are those that the caller trusts in skops files. With `dataframe_path` the model is never
    handed an array. `invocation` is the GoCD job that asks; it reaches the report and the run's tags,
    never the image. `evaluations` are names and texts of evaluation.json;
    without any the run's own counts.
    """

    run: RunRef | ByExperiment
    model_name: str
    base: BaseName
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
    trusted_types: tuple[str, ...] = ()
    require_safe_format: bool = False
    dataframe_path: bool = False
    prove: bool
    allow_unpromoted: bool
    allow_unproven: bool
    move_tag: bool
    relock: bool
    lock_date: str
    created: str
    pinned: tuple[Pinned, ...] = ()
    invocation: Invocation | None = None
    evaluations: tuple[tuple[str, str], ...] = ()
    require_evaluation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The outside systems that a release talks to, each through its one door.

    `prover` is asked for when there is something to prove, and not before. Without an `attester` nothing is
    said about the image.
    """

    tracking: Tracking
    registry: Callable[[str], Registry]
    prover: Callable[[], Prover]
    uv: Uv
    store: Store
    host: Host
    story: Story
    attester: Attester | None = None
