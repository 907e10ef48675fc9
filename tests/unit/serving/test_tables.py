"""Tables read without a DataFrame are those that the long way makes of the same body, or none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runbake_serving.errors import RequestError
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Column, Columns, Scalar, Signature
from runbake_serving.model.tables import TableArray, TableColumns
from runbake_serving.prediction.joining import joined
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of

JSON = MediaType(name="application/json", parameters={})
KINDS = (Scalar.DOUBLE, Scalar.FLOAT, Scalar.LONG, Scalar.INTEGER, Scalar.BOOLEAN, Scalar.STRING)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.sampled_from(["1", "1.5", "true", "", "nan"]),
    st.lists(st.integers(0, 1), max_size=2),
)


def model_of(kinds: tuple[Scalar, ...], *, quick: bool) -> Model:
    """A model that answers what it was given."""
    columns = tuple(Column(name=f"c{n}", type=kind, required=True) for n, kind in enumerate(kinds))
    return Model(
        signature=Signature(inputs=Columns(columns=columns)),
        loaded=Loaded(predict=lambda data, _: data, rules=Rules(rows_may_be_joined=True)),
        mlflow_version="3",
        quick_tables=quick,
    )


def given_to_the_model(model: Model, body: Any) -> pd.DataFrame | RequestError:
    """What reaches the model of this body."""
    try:
        frame: pd.DataFrame = model.answer(model.checked(question_of(json.dumps(body).encode(), JSON, model)))
        return frame
    except RequestError as error:
        return error


@given(st.data(), st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), st.booleans())
def test_the_short_way_is_the_long_way(data: st.DataObject, kinds: list[Scalar], split: bool) -> None:
    """For any values of any types both ways give the model one table, or the caller one refusal."""
    width = st.just(len(kinds)) if data.draw(st.booleans()) else st.integers(0, 4)
    rows = data.draw(st.lists(width.flatmap(lambda n: st.lists(VALUES, min_size=n, max_size=n)), max_size=4))
    names = [f"c{n}" for n in range(len(kinds))]
    body: Any = {"dataframe_split": {"columns": names, "data": rows}}
    if not split:
        body = {"dataframe_records": [dict(zip(names, row, strict=False)) for row in rows]}
    compare(tuple(kinds), body)


@given(st.data(), st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_columns_in_any_order_and_an_index(data: st.DataObject, kinds: list[Scalar]) -> None:
    """So it is for columns in another order, unknown, twice or missing, and for an index of any kind."""
    names = [f"c{n}" for n in range(len(kinds))]
    columns = data.draw(
        st.permutations([*names, *data.draw(st.lists(st.sampled_from(["x", *names]), max_size=1))])
    )
    rows = data.draw(st.lists(st.lists(VALUES, min_size=len(columns), max_size=len(columns)), max_size=3))
    index = data.draw(st.sampled_from([None, list(range(len(rows))), ["a"] * len(rows), [0], "x"]))
    compare(tuple(kinds), {"dataframe_split": {"columns": columns, "data": rows, "index": index}})


@example(Scalar.DOUBLE, [1, None, 2.5])
@example(Scalar.DOUBLE, [None, None])
@example(Scalar.DOUBLE, [2**70, 1])
@example(Scalar.INTEGER, [2**31])
@example(Scalar.LONG, [2**63])
@example(Scalar.LONG, [2**63 - 1])
@example(Scalar.STRING, ["a", None])
@example(Scalar.FLOAT, [1, 2])
@example(Scalar.FLOAT, [3.5e38])
@example(Scalar.BOOLEAN, [True, False])
@given(st.sampled_from(KINDS), st.lists(VALUES, min_size=1, max_size=3))
def test_one_column(kind: Scalar, values: list[Any]) -> None:
    """One column of any values likewise."""
    compare((kind,), {"dataframe_records": [{"c0": value} for value in values]})


def compare(kinds: tuple[Scalar, ...], body: Any) -> None:
    """Both ways end alike."""
    short = given_to_the_model(model_of(kinds, quick=True), body)
    long = given_to_the_model(model_of(kinds, quick=False), body)
    if isinstance(long, RequestError) or isinstance(short, RequestError):
        assert (type(short), str(short)) == (type(long), str(long))
    else:
        pd.testing.assert_frame_equal(short, long)


def test_ordinary_tables_take_the_short_way() -> None:
    """Numbers, texts and booleans of the signature's types need no DataFrame before the model's turn."""
    model = model_of(KINDS, quick=True)
    rows = [[1.5, 0.25, 2, 3, True, "x"], [None, 0.5, -2, -3, False, ""]]
    body = {"dataframe_split": {"columns": [f"c{n}" for n in range(6)], "data": rows, "index": [0, 1]}}
    data = question_of(json.dumps(body).encode(), JSON, model).data
    assert isinstance(data, TableColumns)
    assert [str(dtype) for dtype in data.frame.dtypes][:5] == ["float64", "float32", "int64", "int32", "bool"]


@pytest.mark.parametrize("count", [1, 3])
def test_joined_tables(count: int) -> None:
    """Joined columns and arrays have the rows of all, in order."""
    one = TableColumns({"a": np.array([1.0, 2.0]), "t": ["x", "y"]}, 2)
    both = joined([one] * count)
    assert (both.rows, list(both.columns["t"]), both.columns["a"].tolist()) == (
        2 * count,
        ["x", "y"] * count,
        [1.0, 2.0] * count,
    )
    assert joined([TableArray(np.ones((2, 3)))] * count).values.shape == (2 * count, 3)
