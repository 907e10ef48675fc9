"""XGBoost: boosters and scikit-learn estimators from XGBoost's own files, without MLflow.

Rules. A tree's answer for a row does not depend on other rows: rows may be joined. XGBoost itself compares
the names and the order of a DataFrame's columns with those of training, so it gets DataFrames only.

A refusal is an XGBoostError, ValueError or TypeError: a column too few, a text in place of a number.

Source: mlflow/xgboost/__init__.py of MLflow 3.17, `_XGBModelWrapper`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors.estimator_file import config_of, inside
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Signature

TOLERANCE = 1e-6
BOOSTER = "xgboost.core.Booster"


def load(root: Path, flavors: Mapping[str, Any], signature: Signature, *, always_dataframe: bool) -> Loaded:
    """The booster or estimator in `root`.

    Raises:
        StartError: the file is not there, is damaged, or is of a class that is not XGBoost's.
    """
    del signature, always_dataframe  # always a DataFrame
    import xgboost

    config = config_of(flavors, "xgboost")
    model = _class_of(str(config.get("model_class") or BOOSTER))()
    path = inside(root, str(config.get("data") or "model.xgb"))
    try:
        model.load_model(str(path))
    except (xgboost.core.XGBoostError, ValueError, TypeError, OSError) as error:
        raise StartError(
            f"the model's file {path.name} cannot be loaded: {type(error).__name__}: {str(error)[:300]}",
            hint="the environment must have the xgboost that the model was saved with",
        ) from error
    return Loaded(
        predict=_of_booster(model) if isinstance(model, xgboost.Booster) else _of_estimator(model),
        rules=Rules(
            rows_may_be_joined=True,
            tolerance=TOLERANCE,
            refusals=(xgboost.core.XGBoostError, ValueError, TypeError),
        ),
    )


def _class_of(name: str) -> Callable[[], Any]:
    import xgboost

    # MLmodel is the model's word: it may choose among XGBoost's classes, and import nothing.
    home, _, short = name.rpartition(".")
    found = getattr(xgboost, short, None)
    if home.split(".")[0] != "xgboost" or not (
        isinstance(found, type) and issubclass(found, (xgboost.Booster, xgboost.XGBModel))
    ):
        raise StartError(f"MLmodel names {name!r} as the model's class, which is none of XGBoost's")
    return found


def _of_booster(booster: Any) -> Callable[[Any, Mapping[str, Any]], Any]:
    import xgboost

    known = inspect.signature(booster.predict).parameters.keys()

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        given = {name: value for name, value in params.items() if name in known}
        return booster.predict(xgboost.DMatrix(data), **{"validate_features": True, **given})

    return predict


def _of_estimator(estimator: Any) -> Callable[[Any, Mapping[str, Any]], Any]:
    known = inspect.signature(estimator.predict).parameters.keys()

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        given = {name: value for name, value in params.items() if name in known}
        return estimator.predict(data, **{"validate_features": True, **given})

    return predict
