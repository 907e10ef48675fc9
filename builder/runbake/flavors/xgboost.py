"""XGBoost: boosters and scikit-learn estimators in XGBoost's own files (ubj, json), loaded without MLflow.

Recognised by the `xgboost` flavor in MLmodel. `nvidia-nccl-cu12` is left out: 300 MB that XGBoost opens only
to train on several GPUs. A model that was logged with `xgboost-cpu` among its requirements has an image
smaller by another 200 MB; which of both it is, the model's own requirements decide.

Not served: a model class from another package, which could be anything.
"""

from __future__ import annotations

from runbake.errors import UnsupportedFlavor
from runbake.flavors.config import config_of, has
from runbake.flavors.flavor import Flavor, Served
from runbake.flavors.requirements import without_mlflow
from runbake.tracking.run import ModelDescription

TOLERANCE = 1e-6
"""Trees are summed in 32 bits."""


def _recognises(model: ModelDescription) -> bool:
    return has(model, "xgboost")


def _serve(model: ModelDescription) -> Served:
    kind = str(config_of(model, "xgboost").get("model_class") or "xgboost.core.Booster")
    if not kind.startswith("xgboost."):
        raise UnsupportedFlavor(
            f"MLmodel names the class {kind[:200]!r} for an XGBoost model, which is not XGBoost's own",
            hint="log it with mlflow.pyfunc.log_model, which brings its code",
        )
    return Served(
        flavor="xgboost",
        requirements=without_mlflow(model.requirements),
        without=("nvidia-nccl-cu12", "nvidia-nccl-cu13"),
        format="safe",
    )


FLAVOR = Flavor(name="xgboost", tolerance=TOLERANCE, recognises=_recognises, serve=_serve)
