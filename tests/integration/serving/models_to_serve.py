"""Models of every shape that the runtime promises to serve, saved by MLflow itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import ParamSchema, ParamSpec
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris, load_linnerud
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fitted estimator, rows to ask it, and how MLflow is to save it."""

    estimator: Any
    rows: Any
    signature: ModelSignature | None
    options: Mapping[str, Any]

    @property
    def trusted_types(self) -> tuple[str, ...]:
        """What the operator trusts in its file: here, all that it asks for."""
        return tuple(self.options.get("skops_trusted_types", ()))


def _case(estimator: Any, rows: Any, *, signed: bool = True, params: Any = None, **options: Any) -> Case:
    signature = None
    if signed:
        signature = infer_signature(rows, params=params)
    return Case(estimator=estimator, rows=rows, signature=signature, options=options)


def _iris() -> tuple[pd.DataFrame, pd.Series]:
    iris = load_iris(as_frame=True)
    return iris.data, iris.target


def named_columns() -> Case:
    """Four doubles by name; the array path."""
    data, target = _iris()
    return _case(LogisticRegression(max_iter=500).fit(data, target), data.iloc[::30])


def long_columns() -> Case:
    """Whole numbers of 64 bits by name."""
    data, target = _iris()
    whole = (data * 10).astype("int64")
    model = DecisionTreeClassifier(max_depth=3).fit(whole, target)
    return _case(model, whole.iloc[::30], skops_trusted_types=["sklearn.tree._tree.Tree"])


def mixed_numbers() -> Case:
    """Columns of int32, int64, float32, double and boolean: no one dtype."""
    data, target = _iris()
    mixed = pd.DataFrame(
        {
            "i": (data.iloc[:, 0] * 10).astype("int32"),
            "l": (data.iloc[:, 1] * 10).astype("int64"),
            "f": data.iloc[:, 2].astype("float32"),
            "d": data.iloc[:, 3],
            "b": data.iloc[:, 3] > 1,
        }
    )
    return _case(make_pipeline(StandardScaler(), LogisticRegression()).fit(mixed, target), mixed.iloc[::30])


def tensor() -> Case:
    """One array without a name."""
    data, target = load_diabetes(return_X_y=True)
    return _case(LinearRegression().fit(data, target), data[:5])


def probabilities() -> Case:
    """`predict_proba` in place of `predict`."""
    data, target = _iris()
    return _case(
        LogisticRegression(max_iter=500).fit(data, target),
        data.iloc[::30],
        pyfunc_predict_fn="predict_proba",
    )


def many_outputs() -> Case:
    """Three numbers for each row."""
    data, target = load_linnerud(return_X_y=True, as_frame=True)
    return _case(LinearRegression().fit(data, target), data.iloc[:4])


def list_of_arrays() -> Case:
    """`predict_proba` of several labels is a list of arrays."""
    data, target = _iris()
    labels = np.column_stack([target, target > 0])
    model = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(data, labels)
    return _case(
        model, data.iloc[::40], pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
    )


def people() -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Texts and numbers with gaps."""
    frame = pd.DataFrame(
        {
            "age": [22.0, None, 35.0, 61.0, 44.0, 18.0],
            "city": ["Oslo", "Paris", None, "Oslo", "Rome", "Paris"],
            "income": [1.5, 2.5, None, 4.5, 3.0, 0.5],
        }
    )
    return frame, np.array(["no", "yes", "yes", "no", "yes", "no"])


def mixed_table() -> Case:
    """A ColumnTransformer over texts and numbers with gaps: needs a DataFrame."""
    frame, target = people()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?", missing_values=None),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = ColumnTransformer([("numbers", numbers, ["age", "income"]), ("texts", texts, ["city"])])
    frame["city"] = frame["city"].astype(object).where(frame["city"].notna(), None)
    model = make_pipeline(columns, LogisticRegression()).fit(frame, target)
    return _case(model, frame, serialization_format="cloudpickle")


def _times(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": frame["when"].dt.dayofyear.astype(float),
            "flag": frame["flag"].astype(float),
        }
    )


def times_and_flags() -> Case:
    """Datetimes and booleans."""
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-01-02 03:04:05", "2026-06-07 08:09:10", "2026-11-12 13:14:15"]),
            "flag": [True, False, True],
        }
    )
    frame["when"] = frame["when"].astype("datetime64[ns]")
    model = make_pipeline(FunctionTransformer(_times), DecisionTreeRegressor()).fit(frame, [1.0, 2.0, 3.0])
    return _case(model, frame, serialization_format="cloudpickle")


def _first_column(frame: pd.DataFrame) -> Any:
    return frame.iloc[:, 0].astype(str).tolist()


def texts() -> Case:
    """One column of text under TF-IDF."""
    frame = pd.DataFrame({"text": ["good day", "bad day", "good night", "bad näight"]})
    model = make_pipeline(FunctionTransformer(_first_column), TfidfVectorizer(), LogisticRegression())
    return _case(model.fit(frame, ["+", "-", "+", "-"]), frame, serialization_format="cloudpickle")


def _lowered(frame: pd.DataFrame) -> Any:
    return [text.lower() for text in frame["text"]]


def lowered_texts() -> Case:
    """Text whose first step asks each value for a method of texts."""
    frame = pd.DataFrame({"text": ["Good day", "Bad day", "Good night", "Bad night"]})
    model = make_pipeline(FunctionTransformer(_lowered), TfidfVectorizer(), LogisticRegression())
    return _case(model.fit(frame, ["+", "-", "+", "-"]), frame, serialization_format="cloudpickle")


def unsigned() -> Case:
    """No signature: what the caller sends is what the model gets."""
    data, target = load_diabetes(return_X_y=True)
    return _case(LinearRegression().fit(data, target), data[:3], signed=False)


def pickled() -> Case:
    """The format of MLflow before 3: a plain pickle."""
    data, target = _iris()
    model = DecisionTreeClassifier(max_depth=2).fit(data, target)
    return _case(model, data.iloc[::50], serialization_format="pickle")


def with_params() -> Case:
    """A signature with params that scikit-learn does not use."""
    data, _ = _iris()
    case = named_columns()
    params = ParamSchema(
        [
            ParamSpec("level", "double", 0.5),
            ParamSpec("picks", "long", [1, 2], shape=(-1,)),
        ]
    )
    signature = ModelSignature(inputs=infer_signature(data).inputs, params=params)
    return Case(estimator=case.estimator, rows=case.rows, signature=signature, options={})


CASES: Mapping[str, Callable[[], Case]] = {
    case.__name__: case
    for case in (
        named_columns,
        long_columns,
        mixed_numbers,
        tensor,
        probabilities,
        many_outputs,
        list_of_arrays,
        mixed_table,
        times_and_flags,
        texts,
        lowered_texts,
        unsigned,
        pickled,
        with_params,
    )
}


def save(case: Case, path: Path) -> None:
    """Save a model as a user of MLflow does, with its rows as the input example where it is signed."""
    mlflow.sklearn.save_model(
        case.estimator,
        path,
        signature=case.signature,
        pip_requirements=["scikit-learn"],
        **case.options,
    )
