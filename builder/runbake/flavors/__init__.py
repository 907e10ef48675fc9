"""Which flavor serves a model, and what it changes for that."""

from runbake.errors import UnsupportedFlavor
from runbake.flavors import sklearn
from runbake.flavors.flavor import Flavor, Served
from runbake.tracking.run import ModelDescription

FLAVORS: tuple[Flavor, ...] = (sklearn.FLAVOR,)
"""In the order in which they are asked."""


def serve(model: ModelDescription) -> Served:
    """Ask each flavor in turn; the first that recognises the model serves it.

    Raises:
        UnsupportedFlavor: none does.
    """
    for flavor in FLAVORS:
        if flavor.recognises(model):
            return flavor.serve(model)
    found = ", ".join(flavor.name for flavor in model.flavors) or "none"
    known = ", ".join(flavor.name for flavor in FLAVORS)
    raise UnsupportedFlavor(
        f"the model's flavors are {found}; this version of runbake serves {known}",
        hint="log the model with one of these flavors",
    )


def by_name(name: str) -> Flavor:
    """The flavor of this name.

    Raises:
        UnsupportedFlavor: there is none.
    """
    for flavor in FLAVORS:
        if flavor.name == name:
            return flavor
    raise UnsupportedFlavor(f"no flavor of this version of runbake is called {name!r}")


__all__ = ["FLAVORS", "Flavor", "Served", "by_name", "serve"]
