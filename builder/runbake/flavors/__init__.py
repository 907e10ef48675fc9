"""Which flavor serves a model, and what it changes for that.

A package may bring more: an entry point in the group `runbake.flavors`, called as MLmodel calls the flavor,
that refers to a `Flavor`; its other half is described in `runbake_serving.flavors`. The requirements that its
`serve` gives bring that half into the image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from importlib.metadata import entry_points

from runbake.errors import UnsupportedFlavor
from runbake.flavors import catboost, fasttext, lightgbm, pyfunc, sklearn, spark, xgboost
from runbake.flavors.config import brings_code, config_of
from runbake.flavors.flavor import Flavor, Format, Served, Unpacked
from runbake.flavors.trust import trusted_types_of
from runbake.tracking.run import ModelDescription
from runbake_serving import contract

FLAVORS: tuple[Flavor, ...] = (
    sklearn.FLAVOR,
    fasttext.FLAVOR,
    spark.FLAVOR,
    xgboost.FLAVOR,
    lightgbm.FLAVOR,
    catboost.FLAVOR,
)
"""In the order in which they are asked; the runtime asks in the same order."""

GENERIC: Flavor = pyfunc.FLAVOR
"""Asked last, after those of other packages: MLflow itself loads nearly every model."""

PLUGINS = "runbake.flavors"


def serve(model: ModelDescription, *, trusted: Collection[str] = ()) -> Served:
    """Ask each flavor in turn; the first that recognises the model serves it.

    Those of other packages come after ours, and MLflow's generic one last. `trusted` are the types that
    whoever builds trusts in skops files.

    Raises:
        UnsupportedFlavor: none does.
        UntrustedTypes: the model asks for more trust than it gets.
    """
    for flavor in _all():
        if flavor.recognises(model):
            return _judged(flavor.serve(model), model, trusted)
    found = ", ".join(flavor.name for flavor in model.flavors) or "none"
    known = ", ".join(flavor.name for flavor in _all())
    raise UnsupportedFlavor(
        f"the model's flavors are {found}; this version of runbake serves {known}",
        hint="log the model with one of these flavors, or install a package that serves it",
    )


def _judged(served: Served, model: ModelDescription, trusted: Collection[str]) -> Served:
    types = trusted_types_of(config_of(model, served.flavor), trusted) if served.reads_skops else ()
    environment = ((contract.ENV_TRUSTED_TYPES, ",".join(types)),) if types else ()
    return replace(
        served,
        # Modules that were logged with the model run when they are imported, whatever its file is.
        format="executable" if brings_code(model) else served.format,
        trusted_types=types,
        environment=(*served.environment, *environment),
    )


def by_name(name: str) -> Flavor:
    """The flavor of this name.

    Raises:
        UnsupportedFlavor: there is none.
    """
    for flavor in _all():
        if flavor.name == name:
            return flavor
    raise UnsupportedFlavor(f"no flavor of this version of runbake is called {name!r}")


def _all() -> Iterator[Flavor]:
    yield from FLAVORS
    yield from _plugins()
    yield GENERIC


def _plugins() -> Iterator[Flavor]:
    for plugin in entry_points(group=PLUGINS):
        found = plugin.load()
        if not isinstance(found, Flavor) or found.name != plugin.name:
            raise UnsupportedFlavor(
                f"the entry point {plugin.name!r} in {PLUGINS} does not refer to a flavor of that name: "
                f"{plugin.value}"
            )
        yield found


__all__ = ["FLAVORS", "GENERIC", "Flavor", "Format", "Served", "Unpacked", "by_name", "serve"]
