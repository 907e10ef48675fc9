"""The flavors that this runtime serves, each loaded by its own library, imported when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors.flavor import Loader

FLAVORS: Mapping[str, str] = {
    "sklearn": "runbake_serving.flavors.sklearn",
}
"""MLmodel's name of a flavor, and the module whose `load` loads it; the first that a model has is taken."""


def loader_of(flavors: Mapping[str, Any]) -> Loader:
    """What loads a model with these flavors.

    Raises:
        StartError: none of them is served.
    """
    for name, module in FLAVORS.items():
        if name in flavors:
            loader: Loader = import_module(module).load
            return loader
    raise StartError(
        f"no flavor of the model is served here: it has {', '.join(map(repr, flavors)) or 'none'}",
        hint=f"served: {', '.join(FLAVORS)}",
    )
