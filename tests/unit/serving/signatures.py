"""Strategies: signatures of every kind, and bodies that fit them."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from runbake_serving.model.signature import (
    Anything,
    Array,
    Column,
    Columns,
    Inputs,
    Map,
    Object,
    Param,
    Property,
    Scalar,
    Tensor,
    Tensors,
    Type,
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
moments = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2259, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0).isoformat()
)
SCALARS: Mapping[Scalar, st.SearchStrategy[Any]] = {
    Scalar.BOOLEAN: st.booleans(),
    Scalar.INTEGER: st.integers(-(2**31), 2**31 - 1),
    Scalar.LONG: st.integers(-(2**63), 2**63 - 1),
    Scalar.FLOAT: st.floats(width=32, allow_nan=False, allow_infinity=False),
    Scalar.DOUBLE: st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**50), 2**50),
    Scalar.STRING: texts,
    Scalar.BINARY: st.binary(max_size=5).map(lambda data: base64.b64encode(data).decode()),
    Scalar.DATETIME: moments,
}
scalars = st.sampled_from(sorted(Scalar, key=str))


def _objects(types: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    part = st.builds(Property, name=names, type=types, required=st.booleans())
    parts = st.lists(part, min_size=1, max_size=3, unique_by=lambda one: one.name)
    return parts.map(lambda several: Object(properties=tuple(several)))


types: st.SearchStrategy[Type] = st.recursive(
    scalars,
    lambda inner: st.builds(Array, items=inner) | st.builds(Map, values=inner) | _objects(inner),
    max_leaves=4,
)


@st.composite
def columns(draw: st.DrawFn, of: st.SearchStrategy[Type] = types) -> Columns:
    """A signature of columns, with names or without."""
    named = draw(st.booleans())
    several = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    return Columns(
        columns=tuple(
            Column(name=name if named else None, type=draw(of), required=draw(st.booleans()))
            for name in several
        )
    )


@st.composite
def tensors(draw: st.DrawFn) -> Tensors:
    """A signature of one array or of named ones."""
    dtype = st.sampled_from(["float64", "float32", "int64", "int32", "uint8", "bool", "str"]).map(np.dtype)
    shape = st.lists(st.integers(1, 3), max_size=2).map(lambda lengths: (-1, *lengths))
    if draw(st.booleans()):
        return Tensors(tensors=(Tensor(name=None, dtype=draw(dtype), shape=draw(shape)),))
    several = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    return Tensors(tensors=tuple(Tensor(name=name, dtype=draw(dtype), shape=draw(shape)) for name in several))


@st.composite
def params(draw: st.DrawFn) -> tuple[Param, ...] | None:
    """Params of every type, or none."""
    several = draw(st.lists(names, max_size=2, unique=True))
    return tuple(
        Param(name=name, type=draw(scalars), default=None, listed=draw(st.booleans())) for name in several
    )


# --- values --------------------------------------------------------------------------------------------


def values_of(type_: Type) -> st.SearchStrategy[Any]:
    """JSON values of this type."""
    match type_:
        case Scalar():
            return SCALARS[type_]
        case Array():
            return st.lists(values_of(type_.items), min_size=1, max_size=3)
        case Map():
            return st.dictionaries(texts, values_of(type_.values), min_size=1, max_size=2)
        case Object():
            needed = {part.name: values_of(part.type) for part in type_.properties if part.required}
            others = {part.name: values_of(part.type) for part in type_.properties if not part.required}
            return st.fixed_dictionaries(needed, optional=others)
        case Anything():
            return st.none() | texts


@st.composite
def values_for(draw: st.DrawFn, inputs: Inputs) -> Any:
    """What `rows` or `inputs` may hold: all columns are there."""
    n_rows = draw(st.integers(1, 3))
    if isinstance(inputs, Columns):
        rows = [[draw(values_of(column.type)) for column in inputs.columns] for _ in range(n_rows)]
        known = [column.name for column in inputs.columns]
        return [dict(zip(known, row, strict=True)) for row in rows] if inputs.named else rows
    if not inputs.named:
        return draw(_nested(inputs.tensors[0], n_rows))
    return {name: draw(_nested(tensor, n_rows)) for name, tensor in inputs.by_name.items()}


def _nested(tensor: Tensor, n_rows: int) -> st.SearchStrategy[Any]:
    leaves: Mapping[str, st.SearchStrategy[Any]] = {
        "f": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "i": st.integers(-(2**31), 2**31 - 1),
        "u": st.integers(0, 255),
        "b": st.booleans(),
        "U": texts,
    }
    value = leaves[tensor.dtype.kind]
    for length in reversed(tensor.shape):
        size = n_rows if length < 0 else length
        value = st.lists(value, min_size=size, max_size=size)
    return value


@st.composite
def params_for(draw: st.DrawFn, schema: tuple[Param, ...] | None) -> dict[str, Any]:
    """Some of the params, of their types."""
    given = {}
    for param in schema or ():
        if isinstance(param.type, Scalar) and draw(st.booleans()):
            value = SCALARS[param.type]
            given[param.name] = draw(st.lists(value, max_size=2) if param.listed else value)
    return given
