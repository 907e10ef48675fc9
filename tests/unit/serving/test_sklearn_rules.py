"""Which scikit-learn models may be given arrays, and which may have their rows joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from runbake_serving.errors import StartError
from runbake_serving.flavors import page_of
from runbake_serving.flavors.sklearn import load, rules_of
from runbake_serving.model.model import load_model
from runbake_serving.model.signature import Column, Columns, Scalar, Signature


class Foreign(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator that scikit-learn did not write."""

    def fit(self, data: Any, target: Any) -> Foreign:
        """Nothing to learn."""
        return self

    def predict(self, data: Any) -> Any:
        """Looks at all rows at once."""
        return data - data.mean()


FRAME = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
TARGET = [0, 0, 1, 1]


def signature(*kinds: Scalar, names: str = "ab", required: bool = True) -> Signature:
    """Columns of these types."""
    pairs = zip(names, kinds, strict=True)
    return Signature(
        inputs=Columns(columns=tuple(Column(name=n, type=k, required=required) for n, k in pairs))
    )


def passthrough() -> Any:
    """A pipeline that hides the names of its second step."""
    return make_pipeline("passthrough", LogisticRegression())


NUMBERS = (Scalar.DOUBLE, Scalar.DOUBLE)
DOUBLES = signature(*NUMBERS)
PANDAS = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
COLUMNS = make_pipeline(ColumnTransformer([("s", StandardScaler(), ["a"])]), LogisticRegression())


@pytest.mark.parametrize(
    ("estimator", "said", "array", "joined"),
    [
        (LogisticRegression(), DOUBLES, "float64", True),
        (make_pipeline(StandardScaler(), LogisticRegression()), DOUBLES, "float64", True),
        (RandomForestClassifier(n_estimators=2), DOUBLES, "float64", True),
        (LogisticRegression(), signature(Scalar.FLOAT, Scalar.FLOAT), "float32", True),
        (LogisticRegression(), signature(Scalar.FLOAT, Scalar.DOUBLE), None, True),
        (LogisticRegression(), signature(Scalar.STRING, Scalar.STRING), None, True),
        (LogisticRegression(), signature(Scalar.DOUBLE, Scalar.DOUBLE, names="ba"), None, True),
        (LogisticRegression(), signature(Scalar.DOUBLE, Scalar.DOUBLE, required=False), None, True),
        (LogisticRegression(), Signature(), None, True),
        (PANDAS, DOUBLES, None, True),
        (COLUMNS, DOUBLES, None, True),
        (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), DOUBLES, None, False),
        (passthrough(), DOUBLES, None, True),
        (CalibratedClassifierCV(passthrough(), cv=2), signature(*NUMBERS, names="ba"), None, True),
        (FrozenEstimator(COLUMNS.fit(FRAME, TARGET)), DOUBLES, None, True),
        (FrozenEstimator(LogisticRegression().fit(FRAME, TARGET)), DOUBLES, "float64", True),
        (VotingClassifier([("a", LogisticRegression())]), DOUBLES, "float64", True),
        (BaggingClassifier(Foreign(), n_estimators=2), DOUBLES, None, False),
        (Foreign(), DOUBLES, None, False),
        (make_pipeline(StandardScaler(), Foreign()), DOUBLES, None, False),
    ],
)
def test_rules(estimator: Any, said: Signature, array: str | None, joined: bool) -> None:
    """Arrays only where no name matters and all is scikit-learn's own; joined only in the latter case."""
    rules = rules_of(estimator.fit(FRAME, TARGET), said)
    assert (rules.array_dtype, rules.rows_may_be_joined) == (array, joined)
    assert rules_of(estimator, said, always_dataframe=True).array_dtype is None


def test_fitted_on_an_array() -> None:
    """Where no part knows names, an array in the signature's order is what a DataFrame would become."""
    estimator = passthrough().fit(FRAME.to_numpy(), TARGET)
    assert rules_of(estimator, signature(*NUMBERS, names="ba")).array_dtype == "float64"


def test_a_model_cannot_reach_outside(tmp_path: Path) -> None:
    """A file or code path that leaves the model's directory is refused."""
    for config in ({"pickled_model": "../x.pkl"}, {"pickled_model": "/etc/passwd"}, {"code": "../code"}):
        with pytest.raises(StartError, match="outside"):
            load(tmp_path, {"sklearn": config}, Signature(), always_dataframe=False)


@pytest.mark.parametrize("kind", ["skops", "cloudpickle", "pickle", "unheard"])
def test_a_damaged_file_says_which(tmp_path: Path, kind: str) -> None:
    """A file that cannot be loaded, or of an unknown format, is a StartError."""
    (tmp_path / "model.pkl").write_bytes(b"not a model")
    with pytest.raises(StartError, match="model"):
        load(tmp_path, {"sklearn": {"serialization_format": kind}}, Signature(), always_dataframe=False)


@pytest.mark.parametrize("text", ["", "[", "- a", "flavors: 7", "flavors: {onnx: {}}"])
def test_what_is_not_a_model(tmp_path: Path, text: str) -> None:
    """MLmodel files that describe no model served here are StartErrors."""
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(StartError):
        load_model(tmp_path)


def test_an_unknown_flavor_is_named() -> None:
    """The error names the flavors of the model and those served."""
    with pytest.raises(StartError, match="'onnx'") as caught:
        page_of({"onnx": {}})
    assert "sklearn" in caught.value.hint
