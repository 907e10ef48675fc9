"""A body of /predict to show: the model's own example, else one made from the signature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import SchemaValidator, ValidationError

from runbake_serving.model.model import Model
from runbake_serving.model.signature import (
    Anything,
    Array,
    Columns,
    Inputs,
    Map,
    Object,
    Scalar,
    Tensor,
    Type,
)
from runbake_serving.typed.schema import body_schema

MOST_ROWS = 2
_MOST_VALUES = 500
_SCALARS: Mapping[Scalar, Any] = {
    Scalar.BOOLEAN: False,
    Scalar.INTEGER: 0,
    Scalar.LONG: 0,
    Scalar.FLOAT: 0.0,
    Scalar.DOUBLE: 0.0,
    Scalar.STRING: "text",
    Scalar.BINARY: "AAAA",
    Scalar.DATETIME: "2026-01-31T12:00:00",
}


def example_of(model: Model) -> dict[str, Any] | None:
    """A body that /predict takes; None where the model has no signature, or a tensor is too large to show."""
    inputs, schema = model.inputs, body_schema(model.signature)
    if inputs is None or schema is None:
        return None
    validator = SchemaValidator(schema)
    for body in (_own_example(model, inputs), _made(inputs)):
        if body is not None and _fits(validator, body):
            return body
    return None


def _fits(validator: SchemaValidator, body: Any) -> bool:
    try:
        validator.validate_json(orjson.dumps(body))
    except (ValidationError, orjson.JSONEncodeError):
        return False
    return True


# --- the model's own -----------------------------------------------------------------------------------


def _own_example(model: Model, inputs: Inputs) -> dict[str, Any] | None:
    try:
        example = orjson.loads(model.example)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(example, dict):
        return None
    params = {"params": example["params"]} if model.signature.params and example.get("params") else {}
    if isinstance(inputs, Columns):
        rows = _rows(example, inputs)
        return {"rows": rows[:MOST_ROWS], **params} if rows else None
    value = example.get("inputs", example.get("instances"))
    return {"inputs": _first_rows(value), **params} if value is not None else None


def _first_rows(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _first_rows(one) for name, one in value.items()}
    return value[:MOST_ROWS] if isinstance(value, list) else value


def _rows(example: Mapping[str, Any], inputs: Columns) -> list[Any]:
    split, records = example.get("dataframe_split"), example.get("dataframe_records")
    if isinstance(split, dict):
        columns, data = split.get("columns"), split.get("data")
        if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
            return []
        if not inputs.named:
            return data
        if not isinstance(columns, list):
            return []
        records = [dict(zip(map(str, columns), row, strict=False)) for row in data]
    if isinstance(records, list) and inputs.named:
        return [_row(row, inputs) for row in records if isinstance(row, dict)]
    value = example.get("inputs", example.get("instances"))
    if isinstance(value, dict):
        return [_row({name: _first(one) for name, one in value.items()}, inputs)]
    return []


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _row(row: Mapping[str, Any], inputs: Columns) -> dict[str, Any]:
    """Without other columns, and without gaps that may as well be left out."""
    known = {str(name): column for name, column in inputs.by_name.items()}
    return {
        name: row[name]
        for name, column in known.items()
        if name in row and (row[name] is not None or column.required)
    }


# --- made from the signature ---------------------------------------------------------------------------


def _made(inputs: Inputs) -> dict[str, Any] | None:
    if isinstance(inputs, Columns):
        if not inputs.named:
            return {"rows": [[_value(column.type) for column in inputs.columns]]}
        return {
            "rows": [{str(name): _value(column.type) for name, column in inputs.by_name.items()}],
        }
    if any(math.prod(map(abs, tensor.shape)) > _MOST_VALUES for tensor in inputs.tensors):
        return None
    if not inputs.named:
        return {"inputs": _tensor(inputs.tensors[0])}
    return {"inputs": {str(name): _tensor(tensor) for name, tensor in inputs.by_name.items()}}


def _value(type_: Type) -> Any:
    match type_:
        case Scalar():
            return _SCALARS[type_]
        case Array():
            return [_value(type_.items)]
        case Object():
            return {part.name: _value(part.type) for part in type_.properties}
        case Map():
            return {"key": _value(type_.values)}
        case Anything():
            return None


def _tensor(tensor: Tensor) -> Any:
    leaves = {"f": 0.0, "i": 0, "u": 0, "b": False, "M": "2026-01-31T12:00:00"}
    value: Any = leaves.get(tensor.dtype.kind, "text")
    for length in reversed(tensor.shape):
        value = [value] * abs(length)
    return value
