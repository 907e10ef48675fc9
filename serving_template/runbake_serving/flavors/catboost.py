"""CatBoost: models from CatBoost's own files, without MLflow.

Rules. A tree's answer for a row does not depend on other rows: rows may be joined. It gets DataFrames only:
which columns are categories or texts is told by their place.

A refusal is a CatBoostError, ValueError or TypeError: a column too few, a number where a category was.

Source: mlflow/catboost/__init__.py of MLflow 3.17.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors.estimator_file import config_of, inside
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Signature

TOLERANCE = 1e-9
KINDS = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")


def load(root: Path, flavors: Mapping[str, Any], signature: Signature, *, always_dataframe: bool) -> Loaded:
    """The model in `root`.

    Raises:
        StartError: the file is not there, is damaged, or is of a kind that is not CatBoost's.
    """
    del signature, always_dataframe  # always a DataFrame
    import catboost

    config = config_of(flavors, "catboost")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise StartError(
            f"MLmodel names {kind!r} as the model's kind", hint=f"CatBoost's are {', '.join(KINDS)}"
        )
    path = inside(root, str(config.get("data") or "model.cb"))
    model = getattr(catboost, kind)()
    try:
        model.load_model(str(path), str(config.get("save_format") or "cbm"))
    except (catboost.CatBoostError, ValueError, OSError) as error:
        raise StartError(
            f"the model's file {path.name} cannot be loaded: {type(error).__name__}: {str(error)[:300]}",
            hint="the environment must have the catboost that the model was saved with",
        ) from error

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        del params  # MLflow drops them likewise
        return model.predict(data)

    return Loaded(
        predict=predict,
        rules=Rules(
            rows_may_be_joined=True,
            tolerance=TOLERANCE,
            refusals=(catboost.CatBoostError, ValueError, TypeError),
        ),
    )
