"""Boosters load by their own libraries, and MLmodel chooses among their classes only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runbake_serving.errors import StartError
from runbake_serving.flavors import catboost, estimator_file, lightgbm, pyfunc, xgboost
from runbake_serving.model.signature import Signature

FRAME = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0] * 5, "b": [1.0, 0.0, 1.0, 0.0] * 5})
TARGET = [0, 0, 1, 1] * 5


def test_xgboost_takes_params_that_it_knows(tmp_path: Path) -> None:
    """A booster answers as the library does; known params reach it, unknown ones do not."""
    import xgboost as library

    booster = library.train({"objective": "binary:logistic"}, library.DMatrix(FRAME, label=TARGET), 3)
    booster.save_model(str(tmp_path / "model.ubj"))
    loaded = xgboost.load(tmp_path, {"xgboost": {"data": "model.ubj"}}, Signature(), always_dataframe=False)

    rows = library.DMatrix(FRAME)
    assert np.array_equal(loaded.predict(FRAME, {"unknown": 1}), booster.predict(rows))
    margin = loaded.predict(FRAME, {"output_margin": True})
    assert np.array_equal(margin, booster.predict(rows, output_margin=True))
    with pytest.raises(loaded.rules.refusals):
        loaded.predict(FRAME[["b"]], {})


@pytest.mark.parametrize(
    ("load", "flavors"),
    [
        (xgboost.load, {"xgboost": {"model_class": "os.system", "data": "m"}}),
        (xgboost.load, {"xgboost": {"model_class": "xgboost.core.DMatrix", "data": "m"}}),
        (xgboost.load, {"xgboost": {"data": "m"}}),
        (xgboost.load, {"xgboost": {"data": "../m"}}),
        (lightgbm.load, {"lightgbm": {"data": "m"}}),
        (lightgbm.load, {"lightgbm": {"data": "m", "model_class": "lightgbm.sklearn.LGBMClassifier"}}),
        (catboost.load, {"catboost": {"data": "m", "model_type": "os.system"}}),
        (catboost.load, {"catboost": {"data": "m", "model_type": "CatBoost", "save_format": "cbm"}}),
        # MLflow warns of its own type hints while it is imported.
        pytest.param(
            pyfunc.load,
            {"python_function": {"loader_module": "mlflow.pyfunc.model"}},
            marks=pytest.mark.filterwarnings("ignore"),
        ),
    ],
)
def test_what_cannot_be_loaded_is_said(tmp_path: Path, load: Any, flavors: dict[str, Any]) -> None:
    """A damaged file, a class from elsewhere, a file outside the model: each is a StartError."""
    (tmp_path / "m").write_bytes(b"not a model")
    with pytest.raises(StartError):
        load(tmp_path, flavors, Signature(), always_dataframe=False)


def test_a_skops_file_gets_no_more_trust_than_the_operator_gives(tmp_path: Path) -> None:
    """A type that nobody trusted is named, with the setting that trusts it; trusted, the file loads."""
    import skops.io
    from sklearn.tree import DecisionTreeClassifier

    skops.io.dump(DecisionTreeClassifier(max_depth=2).fit(FRAME, TARGET), tmp_path / "m.skops")
    with pytest.raises(StartError, match=r"sklearn\.tree\._tree\.Tree") as caught:
        estimator_file.estimator_in(tmp_path / "m.skops", "skops", ())
    assert "RUNBAKE_TRUSTED_TYPES" in caught.value.hint

    found = estimator_file.estimator_in(tmp_path / "m.skops", "skops", ("sklearn.tree._tree.Tree",))
    assert found.predict(FRAME).tolist() == TARGET
