"""MLflow's signatures are read into frozen types, whatever MLflow wrote them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving.errors import StartError
from runbake_serving.model.signature import (
    Anything,
    Array,
    Column,
    Columns,
    Map,
    Object,
    Param,
    Property,
    Scalar,
    Signature,
    Tensor,
    Tensors,
    signature_of,
)


def section(inputs: Any = None, params: Any = None) -> dict[str, Any]:
    """MLmodel's section: JSON in text, as MLflow writes it."""
    return {"inputs": inputs and json.dumps(inputs), "outputs": None, "params": params and json.dumps(params)}


def test_columns_of_every_type() -> None:
    """Scalars, arrays, objects, maps, any and Spark's vectors are read, nested as they are."""
    inputs = [
        {"type": "double", "name": "a", "required": True},
        {"type": "string", "name": "b", "required": False},
        {"type": "long", "name": "old", "optional": True},
        {"type": "array", "items": {"type": "array", "items": {"type": "long"}}, "name": "c"},
        {
            "type": "object",
            "properties": {"x": {"type": "datetime", "required": False}, "y": {"type": "any"}},
            "name": "d",
        },
        {"type": "map", "values": {"type": "binary"}, "name": "e"},
        {"type": "sparkml_vector", "name": "f"},
    ]
    columns = signature_of(section(inputs)).inputs
    assert columns == Columns(
        columns=(
            Column(name="a", type=Scalar.DOUBLE, required=True),
            Column(name="b", type=Scalar.STRING, required=False),
            Column(name="old", type=Scalar.LONG, required=False),
            Column(name="c", type=Array(items=Array(items=Scalar.LONG)), required=True),
            Column(
                name="d",
                type=Object(
                    properties=(
                        Property(name="x", type=Scalar.DATETIME, required=False),
                        Property(name="y", type=Anything(), required=True),
                    )
                ),
                required=True,
            ),
            Column(name="e", type=Map(values=Scalar.BINARY), required=True),
            Column(name="f", type=Array(items=Scalar.DOUBLE), required=True),
        )
    )
    assert columns.named


def test_tensors() -> None:
    """One tensor without a name, or several with names."""
    one = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]
    tensors = signature_of(section(one)).inputs
    assert tensors == Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float32"), shape=(-1, 3)),))
    assert not tensors.named
    with pytest.raises(StartError, match="several tensors"):
        signature_of(section(one * 2))


def test_params() -> None:
    """Params have a type under the key of either MLflow version, a default and maybe a list's shape."""
    params = [
        {"name": "p", "type": "double", "default": 1.0, "shape": None},
        {"name": "q", "dtype": "long", "default": [1], "shape": [-1]},
    ]
    assert signature_of(section(params=params)).params == (
        Param(name="p", type=Scalar.DOUBLE, default=1.0, listed=False),
        Param(name="q", type=Scalar.LONG, default=[1], listed=True),
    )


def test_outputs() -> None:
    """What comes out is read as what goes in is."""
    outputs = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}])
    assert signature_of({"outputs": outputs}).outputs == Tensors(
        tensors=(Tensor(name=None, dtype=np.dtype("int64"), shape=(-1,)),)
    )


@pytest.mark.parametrize("document", [None, {}, {"inputs": None}])
def test_no_signature(document: dict[str, Any] | None) -> None:
    """A model without a signature has an empty one."""
    assert signature_of(document) == Signature()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "name"]), inner),
    )
)
def test_any_json_is_a_signature_or_an_error(document: Any) -> None:
    """Whatever stands in MLmodel, the outcome is a signature or StartError."""
    try:
        signature = signature_of(dict.fromkeys(("inputs", "params", "outputs"), json.dumps(document)))
    except StartError:
        return
    assert isinstance(signature, Signature)
