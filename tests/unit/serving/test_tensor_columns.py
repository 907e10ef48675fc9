"""What is read at once is what the long way reads; anything else is left to it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving.errors import RequestError
from runbake_serving.model.model import Model, TableArray
from runbake_serving.model.signature import Scalar
from runbake_serving.protocols.open_inference import inference_of
from runbake_serving.protocols.tensor_columns import table_of
from tests.unit.serving.test_open_inference import columns, model_of

FLOATS = model_of(columns(a=Scalar.DOUBLE, b=Scalar.DOUBLE), array_dtype="float64")
WHOLE = model_of(columns(a=Scalar.LONG, b=Scalar.LONG), array_dtype="int64")
numbers = st.floats(allow_nan=False) | st.integers(-(2**70), 2**70) | st.none() | st.booleans() | st.text()
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c"]) | numbers,
        "datatype": st.sampled_from(["FP64", "INT64"]) | numbers,
        "shape": st.sampled_from([[2], [2, 1], [1, 2], [True], [2.0], [0], 2]),
        "data": st.lists(numbers, max_size=3) | st.just([[1.0], [2.0]]) | st.just([1.5, 2.5]) | numbers,
    },
    optional={"parameters": st.just({})},
)


def tensor(name: str, data: list[Any], datatype: str = "FP64", shape: Any = None) -> dict[str, Any]:
    """One item of `inputs`."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def long_way(inputs: Any, model: Model) -> Any:
    """What is read tensor by tensor: a parameter of a tensor is nothing that is read at once."""
    slow = [{**item, "parameters": {"content_type": "np"}} for item in inputs]
    return inference_of(json.dumps({"inputs": slow}).encode(), "", model)[0].data


@given(st.lists(tensors, max_size=3), st.sampled_from([FLOATS, WHOLE]))
def test_at_once_is_the_long_way(inputs: list[Any], model: Model) -> None:
    """Where anything is read at once, it equals what the long way reads."""
    found = table_of(inputs, model)
    if found is None:
        return
    data = long_way(inputs, model)
    assert isinstance(data, TableArray)
    assert (found.values.dtype, found.values.flags.c_contiguous) == (data.values.dtype, True)
    np.testing.assert_array_equal(found.values, data.values)


@pytest.mark.parametrize(
    ("model", "inputs", "values"),
    [
        (FLOATS, [tensor("b", [3, 4.5]), tensor("a", [1.0, None])], [[1.0, 3.0], [np.nan, 4.5]]),
        (FLOATS, [tensor("b", [3.0], shape=[1, 1]), tensor("a", [1.0], shape=[1, 1])], [[1.0, 3.0]]),
        (WHOLE, [tensor("a", [2**62], "INT64"), tensor("b", [-1], "INT64")], [[2**62, -1]]),
    ],
)
def test_what_is_read_at_once(model: Model, inputs: list[Any], values: Any) -> None:
    """Columns in any order, with gaps where they are floats."""
    found = table_of(inputs, model)
    assert found is not None
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(long_way(inputs, model).values, values)


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("a", [1.0])],
        [tensor("a", [1.0]), tensor("a", [1.0])],
        [tensor("a", [1.0]), tensor("c", [1.0])],
        [tensor("a", [1.0]), tensor("b", [1.0, 2.0])],
        [tensor("a", [1.0]), tensor("b", [True])],
        [tensor("a", [1.0]), tensor("b", ["1"])],
        [tensor("a", [1.0]), tensor("b", [1.0], shape=[True])],
        [tensor("a", [1.0]), tensor("b", [10**400])],
        [],
        None,
    ],
)
def test_what_is_left_to_the_long_way(inputs: Any) -> None:
    """What is wrong, or of another form, is refused or read as if there were no short way."""
    assert table_of(inputs, FLOATS) is None
    with pytest.raises(RequestError):
        FLOATS.checked(inference_of(json.dumps({"inputs": inputs}).encode(), "", FLOATS)[0])
