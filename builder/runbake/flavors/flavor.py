"""What a flavor decides for the toolkit; what it decides for the image is in `runbake_serving.flavors`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runbake.tracking.run import ModelDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model as its flavor serves it: the requirements that it needs in the image."""

    flavor: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One page of the flavors room.

    `recognises` looks at MLmodel's flavors; `serve` changes the requirements. `tolerance` is the largest
    relative difference between two floats of equal answers.
    """

    name: str
    tolerance: float
    recognises: Callable[[ModelDescription], bool]
    serve: Callable[[ModelDescription], Served]
