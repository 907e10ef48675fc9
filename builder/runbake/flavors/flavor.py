"""What a flavor decides for the toolkit; what it decides for the image is in `runbake_serving.flavors`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runbake.tracking.run import FetchedModel, ModelDescription

Format = Literal["safe", "executable"]
"""Whether reading the model's files makes data and known objects only, or runs what they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A file in an archive of a wheel that lies in the image by itself, because nothing may unpack it later.

    `archive` is a pattern of its path in site-packages; `{machine}` in `member`, the path inside, is Linux's
    name of the platform ("x86_64", "aarch64"); `to` is absolute.
    """

    wheel: str
    archive: str
    member: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model as its flavor serves it: what it needs in the image.

    `environment` are variables of the image's configuration, e.g. where a Java runtime lies. `without` are
    names of distributions that the requirements pull in and that serving this model never needs; they are
    locked and installed nowhere. `format` says whether loading the model runs code that is in it:
    "executable", unless the flavor knows better. `reads_skops` says that its file is skops', whose types
    somebody here must trust; `trusted_types` are those. `unpacked` are files out of archives in its wheels.
    """

    flavor: str
    requirements: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    format: Format = "executable"
    reads_skops: bool = False
    trusted_types: tuple[str, ...] = ()
    unpacked: tuple[Unpacked, ...] = ()


def _examine_nothing(_: FetchedModel) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One page of the flavors room.

    `name` is MLmodel's, and that of the runtime's page. `recognises` looks at MLmodel's flavors; `serve`
    changes the requirements, or raises UnsupportedFlavor for a model of this flavor that cannot be served.
    `tolerance` is the largest relative difference between two floats of equal answers. `examine` looks at the
    model's files before anything is made of them, and raises NoModel or UnsupportedFlavor for what no image
    could load.
    """

    name: str
    tolerance: float
    recognises: Callable[[ModelDescription], bool]
    serve: Callable[[ModelDescription], Served]
    examine: Callable[[FetchedModel], None] = _examine_nothing
