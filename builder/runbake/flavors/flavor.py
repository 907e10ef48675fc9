"""What a flavor decides for the toolkit; what it decides for the image is in `runbake_serving.flavors`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runbake.tracking.run import FetchedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model as its flavor serves it: the requirements it needs in the image, and the proof's.

    `reference` is what MLflow itself needs beside the lock to load the model: the proof's other opinion.
    `tolerance` is the largest relative difference between two floats of equal answers.
    """

    flavor: str
    requirements: tuple[str, ...]
    reference: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One page of the flavors room.

    `recognises` looks at MLmodel's flavors; `serve` changes the requirements.
    """

    name: str
    recognises: Callable[[FetchedModel], bool]
    serve: Callable[[FetchedModel], Served]
