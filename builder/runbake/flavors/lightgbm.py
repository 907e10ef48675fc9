"""LightGBM: boosters in LightGBM's text files, scikit-learn estimators in skops, cloudpickle and pickle.

Recognised by the `lightgbm` flavor in MLmodel, loaded without MLflow. A booster's file is text; an
estimator's is what scikit-learn's are (`estimator_file`).
"""

from __future__ import annotations

from runbake.flavors.config import config_of, has
from runbake.flavors.estimator_file import format_of
from runbake.flavors.flavor import Flavor, Format, Served
from runbake.flavors.requirements import without_mlflow
from runbake.tracking.run import ModelDescription

TOLERANCE = 1e-9
BOOSTER = "lightgbm.basic.Booster"


def _recognises(model: ModelDescription) -> bool:
    return has(model, "lightgbm")


def _serve(model: ModelDescription) -> Served:
    config = config_of(model, "lightgbm")
    is_booster = (config.get("model_class") or BOOSTER) == BOOSTER
    kind: Format = "safe" if is_booster else format_of(config)
    return Served(
        flavor="lightgbm",
        requirements=without_mlflow(model.requirements),
        format=kind,
        # MLflow names types to trust for a booster too, whose file is text.
        reads_skops=kind == "safe" and not is_booster,
    )


FLAVOR = Flavor(name="lightgbm", tolerance=TOLERANCE, recognises=_recognises, serve=_serve)
