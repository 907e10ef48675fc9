"""The measured models, each with the requests that it is asked."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

_NAMES = ("cloudpickle", "mlflow", "numpy", "pandas", "scikit-learn", "scipy")
_FLOATS = [f"column_{position}" for position in range(30)]
_WORDS = np.array(
    ["good", "bad", "fast", "slow", "late", "early", "broken", "whole", "order", "refund", "parcel", "call"]
)
_BIG_CLASSES = 60
_BIG_FEATURES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request's bytes, and what makes its answer right: one value for each row."""

    content_type: str
    content: bytes
    predictions: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A model as MLflow saves it, and rows to ask it."""

    path: Path
    model: Any
    rows: pd.DataFrame

    def split(self, count: int) -> Body:
        """MLflow's `dataframe_split` with the first `count` rows."""
        table = self.rows.head(count).to_dict(orient="split", index=False)
        return self._body("application/json", json.dumps({"dataframe_split": table}).encode(), count)

    def matrix(self, count: int, name: str) -> Body:
        """The rows as a bare list of lists under `name`: what a hand-written service takes."""
        content = json.dumps({name: self.rows.head(count).to_numpy().tolist()}).encode()
        return self._body("application/json", content, count)

    def records(self, count: int) -> Body:
        """The typed /predict: one object for each row."""
        content = json.dumps({"rows": self.rows.head(count).to_dict(orient="records")}).encode()
        return self._body("application/json", content, count)

    def tensors(self, count: int) -> Body:
        """Open Inference Protocol V2: one tensor for each column."""
        inputs = [
            {"name": name, "shape": [count], "datatype": _datatype(column), "data": column.tolist()}
            for name, column in self.rows.head(count).items()
        ]
        return self._body("application/json", json.dumps({"inputs": inputs}).encode(), count)

    def arrow(self, count: int) -> Body:
        """An Arrow stream of one batch."""
        table = pa.Table.from_pandas(self.rows.head(count), preserve_index=False)
        sink = BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return self._body("application/vnd.apache.arrow.stream", sink.getvalue(), count)

    def _body(self, content_type: str, content: bytes, count: int) -> Body:
        predictions = tuple(self.model.predict(self.rows.head(count)).tolist())
        return Body(content_type=content_type, content=content, predictions=predictions)


def _datatype(column: pd.Series[Any]) -> str:
    return "FP64" if column.dtype == np.float64 else "BYTES"


def requirements() -> list[str]:
    """What the models ask for, exact."""
    return [f"{name}=={version(name)}" for name in _NAMES]


def save(name: str, directory: Path) -> Saved:
    """Make the model called `name` (a key of `MODELS`), the same each time, and save it for MLflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, rows = MODELS[name](np.random.default_rng(20))
        path = directory / name
        if not path.exists():
            mlflow.sklearn.save_model(
                model,
                path,
                serialization_format="cloudpickle",
                input_example=rows.head(2),
                pip_requirements=requirements(),
            )
    return Saved(path=path, model=model, rows=rows)


def load(path: Path) -> Any:
    """The bare estimator."""
    return pickle.loads((path / "model.pkl").read_bytes())  # noqa: S301 -- it is ours


def _of_floats(random: np.random.Generator) -> tuple[Any, pd.DataFrame]:
    rows = pd.DataFrame(random.normal(size=(10_000, len(_FLOATS))), columns=_FLOATS)
    target = (rows["column_0"] + rows["column_1"] > 0).astype(int)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, target), rows


def _texts(random: np.random.Generator, count: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [" ".join(words) for words in random.choice(_WORDS, size=(count, 20))]})


def _of_text(random: np.random.Generator) -> tuple[Any, pd.DataFrame]:
    rows = _texts(random, 2_000)
    target = rows["text"].str.count("good") > rows["text"].str.count("bad")
    vectors = ColumnTransformer([("words", TfidfVectorizer(), "text")])
    return make_pipeline(vectors, LogisticRegression()).fit(rows, target.astype(int)), rows


def _of_mixed(random: np.random.Generator) -> tuple[Any, pd.DataFrame]:
    count, numbers, words = 2_000, [f"number_{i}" for i in range(6)], [f"word_{i}" for i in range(4)]
    rows = pd.DataFrame(random.normal(size=(count, len(numbers))), columns=numbers)
    for name in words:
        rows[name] = random.choice(_WORDS[:6], size=count)
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("words", OneHotEncoder(handle_unknown="ignore"), words)]
    )
    target = ((rows["number_0"] > 0) ^ (rows["word_0"] == "good")).astype(int)
    return make_pipeline(columns, LogisticRegression()).fit(rows, target), rows


def _of_heavy(random: np.random.Generator) -> tuple[Any, pd.DataFrame]:
    # Each row costs the same, joined or not: overload cannot be escaped by joining.
    rows = pd.DataFrame(random.normal(size=(3_000, len(_FLOATS))), columns=_FLOATS)
    target = random.integers(0, 2, size=len(rows))
    return make_pipeline(StandardScaler(), SVC(C=10)).fit(rows, target), rows


def _of_big(random: np.random.Generator) -> tuple[Any, pd.DataFrame]:
    rows = _texts(random, 200)
    linear = LogisticRegression()
    linear.classes_ = np.arange(_BIG_CLASSES)
    # 503 MB, in the order in which a product with sparse rows takes it as it is: else each request copies it.
    linear.coef_ = random.normal(size=(_BIG_FEATURES, _BIG_CLASSES)).T
    linear.intercept_, linear.n_features_in_ = np.zeros(_BIG_CLASSES), _BIG_FEATURES
    vectors = ColumnTransformer([("words", HashingVectorizer(n_features=_BIG_FEATURES), "text")]).fit(rows)
    return Pipeline([("vectors", vectors), ("linear", linear)]), rows


MODELS: Mapping[str, Callable[[np.random.Generator], tuple[Any, pd.DataFrame]]] = {
    "float": _of_floats,
    "text": _of_text,
    "mixed": _of_mixed,
    "heavy": _of_heavy,
    "big": _of_big,
}
