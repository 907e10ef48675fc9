"""LightGBM: boosters from text files, scikit-learn estimators from skops and pickles, without MLflow.

Rules. A tree's answer for a row does not depend on other rows: rows may be joined, where the estimator is
LightGBM's own. It gets DataFrames only: columns of categories are told by their dtype.

A refusal is a LightGBMError, ValueError or TypeError: a column too few, a text in place of a number.

Source: mlflow/lightgbm/__init__.py of MLflow 3.17, `_LGBModelWrapper`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors.estimator_file import add_code, config_of, estimator_in, inside
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Signature

TOLERANCE = 1e-9
BOOSTER = "lightgbm.basic.Booster"


def load(
    root: Path,
    flavors: Mapping[str, Any],
    signature: Signature,
    *,
    always_dataframe: bool,
    trusted_types: tuple[str, ...] = (),
) -> Loaded:
    """The booster or estimator in `root`; a pickle executes what it says.

    Raises:
        StartError: the file is not there or cannot be loaded; the message names it.
    """
    del signature, always_dataframe  # always a DataFrame
    import lightgbm

    config = config_of(flavors, "lightgbm")
    add_code(root, config.get("code") or config_of(flavors, "python_function").get("code"))
    path = inside(root, str(config.get("data") or "model.lgb"))
    if (config.get("model_class") or BOOSTER) == BOOSTER:
        model = _booster(path)
    else:
        # MLflow 3.13 and earlier did not write the format: it was cloudpickle.
        model = estimator_in(path, str(config.get("serialization_format") or "cloudpickle"), trusted_types)

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        del params  # MLflow drops them likewise
        return model.predict(data)

    return Loaded(
        predict=predict,
        rules=Rules(
            rows_may_be_joined=type(model).__module__.split(".")[0] == "lightgbm",
            tolerance=TOLERANCE,
            refusals=(lightgbm.basic.LightGBMError, ValueError, TypeError),
        ),
    )


def _booster(path: Path) -> Any:
    import lightgbm

    try:
        return lightgbm.Booster(model_file=str(path))
    except (lightgbm.basic.LightGBMError, ValueError, OSError) as error:
        raise StartError(
            f"the model's file {path.name} cannot be loaded: {type(error).__name__}: {str(error)[:300]}",
            hint="the environment must have the lightgbm that the model was saved with",
        ) from error
