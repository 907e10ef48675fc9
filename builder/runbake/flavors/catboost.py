"""CatBoost: models in CatBoost's own files (cbm, json), loaded without MLflow.

Recognised by the `catboost` flavor in MLmodel. What CatBoost asks for to draw is left out (matplotlib,
plotly, graphviz and what only they need); it is imported where something is drawn, and nowhere else.
"""

from __future__ import annotations

from runbake.flavors.config import config_of, has
from runbake.flavors.flavor import Flavor, Served
from runbake.flavors.requirements import named, without_mlflow
from runbake.tracking.run import ModelDescription

TOLERANCE = 1e-9
DRAWING = ("graphviz", "matplotlib", "plotly")


def _recognises(model: ModelDescription) -> bool:
    return has(model, "catboost")


def _serve(model: ModelDescription) -> Served:
    # A model that asks for one of them by name has its reasons.
    asked = named(model.requirements)
    return Served(
        flavor="catboost",
        requirements=without_mlflow(model.requirements),
        without=tuple(name for name in DRAWING if name not in asked),
        format="executable" if config_of(model, "catboost").get("save_format") == "python" else "safe",
    )


FLAVOR = Flavor(name="catboost", tolerance=TOLERANCE, recognises=_recognises, serve=_serve)
