"""The flavors that this runtime serves, each loaded by its own library, imported when it is needed.

A package may bring more: an entry point in the group `runbake_serving.flavors`, called as MLmodel calls the
flavor, that refers to a `Page`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors.flavor import Page

_HERE = "runbake_serving.flavors"
FLAVORS: tuple[Page, ...] = (
    Page(name="sklearn", module=f"{_HERE}.sklearn", trusts=True),
    Page(name="fasttext", module=f"{_HERE}.fasttext"),
    Page(name="spark", module=f"{_HERE}.spark", forks=False),
    Page(name="xgboost", module=f"{_HERE}.xgboost"),
    Page(name="lightgbm", module=f"{_HERE}.lightgbm", trusts=True),
    Page(name="catboost", module=f"{_HERE}.catboost"),
)
"""In the order in which they are asked; the toolkit asks in the same order."""

GENERIC = Page(name="python_function", module=f"{_HERE}.pyfunc", forks=False)
"""Asked last, after those of other packages: MLflow itself loads nearly every model."""

PLUGINS = "runbake_serving.flavors"


def page_of(flavors: Mapping[str, Any]) -> Page:
    """The page of a model with these flavors: one of ours, one that an installed package brings, or MLflow's.

    Raises:
        StartError: none of them is served.
    """
    for page in FLAVORS:
        if page.name in flavors:
            return page
    for plugin in entry_points(group=PLUGINS):
        if plugin.name in flavors:
            found = plugin.load()
            if not isinstance(found, Page):
                raise StartError(f"the flavor {plugin.name!r} of {plugin.value} is not a Page")
            return found
    if GENERIC.name in flavors:
        return GENERIC
    raise StartError(
        f"no flavor of the model is served here: it has {', '.join(map(repr, flavors)) or 'none'}",
        hint=f"served: {', '.join(page.name for page in FLAVORS)}",
    )
