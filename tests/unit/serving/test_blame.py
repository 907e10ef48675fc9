"""Errors tell the place of a fault by column and row, and never the value."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from runbake_serving.errors import RequestError
from runbake_serving.flavors.flavor import Loaded
from runbake_serving.flavors.sklearn import rules_of
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Column, Columns, Scalar, Signature
from runbake_serving.prediction.blame import first_bad_row
from runbake_serving.prediction.predictor import Predictor
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of

JSON = MediaType(name="application/json", parameters={})
INPUTS = Columns(columns=tuple(Column(name=name, type=Scalar.DOUBLE, required=True) for name in "ab"))
ROWS = [[1.0, 2.0], [2.0, 4.0], [3.0, 7.0]]


def model_of(*, array: bool) -> Model:
    """A regression that takes no gaps, by either path."""
    steps = [StandardScaler()] if array else [make_column_transformer((StandardScaler(), ["a", "b"]))]

    rows: Any = ROWS if array else pd.DataFrame(ROWS, columns=["a", "b"])
    estimator = make_pipeline(*steps, LinearRegression()).fit(rows, [1, 2, 3])
    signature = Signature(inputs=INPUTS)
    rules = rules_of(estimator, signature)
    assert (rules.array_dtype is not None) == array
    loaded = Loaded(predict=lambda data, _: estimator.predict(data), rules=rules)
    return Model(signature=signature, loaded=loaded, mlflow_version="3")


def refusals(model: Model, *tables: list[Any]) -> list[tuple[Any, ...] | None]:
    """For each of some requests asked together: status, column, row and message; None for an answer."""

    async def one(predictor: Predictor, rows: list[Any]) -> tuple[Any, ...] | None:
        body = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": rows}}).encode()
        try:
            await predictor.ask(model.checked(question_of(body, JSON, model)), "1")
        except RequestError as error:
            return error.status, error.column, error.row, str(error)
        return None

    async def ask() -> list[tuple[Any, ...] | None]:
        predictor = Predictor(model, threads=1)
        found = await asyncio.gather(*(one(predictor, rows) for rows in tables))
        predictor.close()
        return found

    return asyncio.run(ask())


@pytest.mark.parametrize("array", [True, False])
def test_a_gap_is_named(array: bool) -> None:
    """Of requests that were joined the one with a gap is told its own row; the others are answered."""
    before, bad, after = refusals(model_of(array=array), ROWS, [[1.0, 1.0], [2.0, None]], ROWS)
    assert (before, after) == (None, None)
    assert bad is not None
    assert bad[:3] == (400, "b", 1)
    assert "column 'b', row 1" in bad[3]


@pytest.mark.parametrize("array", [True, False])
def test_an_unreadable_value_is_named(array: bool) -> None:
    """A text where a number should be is told by column and row, without the text."""
    found = refusals(model_of(array=array), [[1.0, 1.0], [1.0, 1.0], ["secret", 1.0], ["other", 2.0]])[0]
    assert found is not None
    assert found[:3] == (400, "a", 2)
    assert "secret" not in found[3]


@pytest.mark.parametrize("array", [True, False])
def test_a_row_of_another_length_is_named(array: bool) -> None:
    """The first row with more or fewer values than those before it is told, and a row of another kind."""
    model = model_of(array=array)
    short, long = refusals(model, [[1.0, 1.0], [1.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 2.0, 3.0], [1.0]])
    assert (short or ())[:3] == (400, None, 1)
    assert (long or ())[:3] == (400, None, 2)
    mixed = refusals(model, [[1.0, 1.0], {"a": 1.0, "b": 1.0}])[0]
    assert mixed is not None
    assert "all lists or all objects" in mixed[3]


def test_no_rows_are_called_that() -> None:
    """A table without rows that the model refuses is not told of values."""
    found = refusals(model_of(array=False), [])[0]
    assert found is not None
    assert found[0] == 400
    assert "without rows" in found[3]


def test_a_missing_column_is_named() -> None:
    """A column that is not there is named."""
    model = model_of(array=True)
    body = json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1]]}}).encode()
    with pytest.raises(RequestError, match="missing columns: 'b'") as caught:
        model.checked(question_of(body, JSON, model))
    assert caught.value.column == "b"


@given(st.integers(0, 200), st.sets(st.integers(0, 199)))
def test_the_first_bad_row(rows: int, bad: set[int]) -> None:
    """The first bad row is found whatever others there are."""
    within = [row for row in sorted(bad) if row < rows]
    found = first_bad_row(rows, lambda count: any(row < count for row in bad))
    assert found == (within[0] if within else None)
