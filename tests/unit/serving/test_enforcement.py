"""What reaches the model has the signature's columns and types, or the caller is told which has not."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving.errors import InvalidRequest, SchemaMismatch
from runbake_serving.model.casting import cast_frame
from runbake_serving.model.enforcement import enforced
from runbake_serving.model.params import enforced_params
from runbake_serving.model.signature import (
    Array,
    Column,
    Columns,
    Map,
    Object,
    Param,
    Property,
    Scalar,
    Tensor,
    Tensors,
    Type,
)


def columns(**types: Type) -> Columns:
    """Required columns by name."""
    return Columns(columns=tuple(Column(name=n, type=t, required=True) for n, t in types.items()))


@pytest.mark.parametrize(
    ("given_dtype", "scalar", "fits"),
    [
        ("int32", Scalar.LONG, True),
        ("int64", Scalar.INTEGER, False),
        ("uint32", Scalar.LONG, True),
        ("uint64", Scalar.LONG, False),
        ("int32", Scalar.DOUBLE, True),
        ("int64", Scalar.DOUBLE, False),
        ("float32", Scalar.DOUBLE, True),
        ("float64", Scalar.FLOAT, False),
        ("float64", Scalar.LONG, False),
        ("int64", Scalar.BOOLEAN, False),
        ("int64", Scalar.STRING, False),
        ("bool", Scalar.BOOLEAN, True),
    ],
)
def test_only_safe_conversions(given_dtype: str, scalar: Scalar, fits: bool) -> None:
    """A column becomes a wider type where nothing is lost, and is refused by name elsewhere."""
    frame = pd.DataFrame({"a": np.array([0, 7]).astype(given_dtype)})
    if fits:
        assert enforced(frame, columns(a=scalar))["a"].dtype == scalar.numpy
        return
    with pytest.raises(SchemaMismatch, match="column 'a'"):
        enforced(frame, columns(a=scalar))


def test_order_extra_and_missing_columns() -> None:
    """Columns come in the signature's order, others are dropped, missing ones are named."""
    frame = pd.DataFrame({"x": [1.0], "b": [2.0], "a": [3.0]})
    assert list(enforced(frame, columns(a=Scalar.DOUBLE, b=Scalar.DOUBLE)).columns) == ["a", "b"]
    with pytest.raises(SchemaMismatch, match=r"missing columns: 'c'$"):
        enforced(frame, columns(a=Scalar.DOUBLE, c=Scalar.DOUBLE))


def test_messages_do_not_quote_the_request() -> None:
    """Neither values nor names of the request are in a message."""
    frame = pd.DataFrame({"secret-name": ["secret"], "a": ["secret"]})
    for inputs in (columns(a=Scalar.DOUBLE), columns(b=Scalar.DOUBLE), columns(a=Array(items=Scalar.LONG))):
        with pytest.raises((SchemaMismatch, InvalidRequest)) as caught:
            enforced(cast_frame(frame.copy(), inputs), inputs)
        assert "secret" not in str(caught.value)


def test_nested_types() -> None:
    """Arrays, objects and maps are checked to their leaves."""
    inputs = columns(
        o=Object(properties=(Property(name="x", type=Scalar.LONG, required=True),)),
        l=Array(items=Scalar.DOUBLE),
        m=Map(values=Array(items=Scalar.STRING)),
    )
    good = pd.DataFrame({"o": [{"x": 1}], "l": [[1.0, 2.0]], "m": [{"k": ["v"]}]})
    assert enforced(good, inputs).to_dict("records") == [{"o": {"x": 1}, "l": [1.0, 2.0], "m": {"k": ["v"]}}]
    for name, value in (("o", {}), ("o", {"x": 1, "y": 2}), ("o", {"x": "1"}), ("l", 1.0), ("m", {"k": "v"})):
        bad = good.copy()
        bad[name] = pd.Series([value], dtype=object)
        with pytest.raises(SchemaMismatch, match=f"column '{name}'"):
            enforced(bad, inputs)


def test_tensor_shape_and_dtype() -> None:
    """An array has the signature's shape and dtype, or both are told."""
    inputs = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float64"), shape=(-1, 2)),))
    assert enforced(np.ones((5, 2)), inputs).shape == (5, 2)
    assert enforced(pd.DataFrame(np.ones((5, 2))), inputs).shape == (5, 2)
    for wrong in (np.ones((5, 3)), np.ones(2), np.ones((5, 2), dtype="float32"), pd.DataFrame(), "x", None):
        with pytest.raises(SchemaMismatch):
            enforced(wrong, inputs)


@pytest.mark.parametrize(
    ("scalar", "value"), [(Scalar.INTEGER, 1 << 31), (Scalar.LONG, 2.0**63), (Scalar.DATETIME, 2.0**63)]
)
def test_whole_numbers_out_of_range(scalar: Scalar, value: float) -> None:
    """A number that its type cannot hold is refused, not wrapped around."""
    with pytest.raises(InvalidRequest, match="column 'a'"):
        cast_frame(pd.DataFrame({"a": [value]}), columns(a=scalar))


def test_casting_of_json_values() -> None:
    """Binary is base64, times are parsed to nanoseconds, numbers take the signature's width."""
    frame = pd.DataFrame({"b": ["aGk="], "t": ["2026-01-02T03:04:05"], "f": [1.5]})
    cast = cast_frame(frame, columns(b=Scalar.BINARY, t=Scalar.DATETIME, f=Scalar.FLOAT))
    assert cast["b"].tolist() == [b"hi"]
    assert str(cast["t"].dtype) == "datetime64[ns]"
    assert cast["f"].dtype == np.float32


PARAMS = (
    Param(name="p", type=Scalar.DOUBLE, default=0.5, listed=False),
    Param(name="q", type=Scalar.LONG, default=[1], listed=True),
    Param(name="t", type=Scalar.DATETIME, default=None, listed=False),
)


def test_params_by_default_and_as_given() -> None:
    """What is not given has its default, whole numbers widen, and unknown params are dropped."""
    assert enforced_params(None, PARAMS) == {"p": 0.5, "q": [1], "t": None}
    moment = datetime.datetime(2026, 1, 2, 3)  # noqa: DTZ001 - as MLflow hands it over
    assert enforced_params({"p": 1, "q": [2], "t": "2026-01-02T03", "z": 1}, PARAMS) == {
        "p": 1.0,
        "q": [2],
        "t": moment,
    }
    assert enforced_params({"p": 1}, None) == {}


@pytest.mark.parametrize(
    "params",
    [[1], "x", {"p": "1"}, {"p": True}, {"p": [1.0]}, {"q": 1}, {"q": [1.5]}, {"q": [[1]]}, {"t": "x"}],
)
def test_params_of_another_type(params: Any) -> None:
    """A param of another type is refused."""
    with pytest.raises(SchemaMismatch, match="param"):
        enforced_params(params, PARAMS)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
TYPES = st.sampled_from([*Scalar, Array(items=Scalar.DOUBLE), Map(values=Scalar.STRING)])


# pandas says when it must guess how a date is written; that its guess is taken is MLflow's rule.
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(VALUES, min_size=1, max_size=3), TYPES)
def test_any_value_fits_or_is_refused(values: list[Any], kind: Type) -> None:
    """No value of any kind raises anything but a refusal, and what passes has the column's type."""
    inputs = columns(a=kind)
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    try:
        column = enforced(cast_frame(frame, inputs), inputs)["a"]
    except (InvalidRequest, SchemaMismatch):
        return
    if isinstance(kind, Scalar) and kind.pandas != np.dtype(object):
        assert column.dtype == kind.numpy
    assert len(column) == len(values)
