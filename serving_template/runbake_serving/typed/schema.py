"""The signature as one schema, which both judges a body and describes it in the OpenAPI document.

pydantic-core reads JSON straight into checked values; no class is made: any text can be a column's name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as core

from runbake_serving.model.signature import (
    Anything,
    Array,
    Column,
    Columns,
    Inputs,
    Map,
    Object,
    Param,
    Scalar,
    Signature,
    Tensor,
    Type,
)

NAMES = "names"
"""The type of the error that tells which names are unknown and which are missing."""
_MOST_NAMES = 20
_NAME_LIMIT = 100

# Years that nanoseconds in 64 bits can count.
_DATE = "(?:1[7-9][0-9]{2}|2[01][0-9]{2}|22[0-5][0-9])-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\\.[0-9]{1,9})?)?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_FLOAT32 = float(np.finfo(np.float32).max)
# Older versions of pydantic check every value of an object before they say that one was wrong.
_FAIL_FAST: Mapping[str, Any] = (
    {"fail_fast": True} if "fail_fast" in inspect.signature(core.dict_schema).parameters else {}
)


def body_schema(signature: Signature) -> CoreSchema | None:
    """What a body must be; None where the model has no signature."""
    inputs = signature.inputs
    if inputs is None:
        return None
    key = "rows" if isinstance(inputs, Columns) else "inputs"
    fields = {key: inputs_schema(inputs)}
    if signature.params:
        fields["params"] = params_schema(signature.params)
    return _closed(fields, required=[key])


def inputs_schema(inputs: Inputs) -> CoreSchema:
    """The value of `rows` or `inputs`."""
    if isinstance(inputs, Columns):
        return _list(row_schema(inputs), least=1)
    if not inputs.named:
        return tensor_schema(inputs.tensors[0])
    tensors = {str(name): tensor_schema(one) for name, one in inputs.by_name.items()}
    return _closed(tensors, required=tensors)


def row_schema(columns: Columns) -> CoreSchema:
    """One row: an object by column, or a list by position where the columns have no names."""
    if not columns.named:
        return core.tuple_schema([_column(column) for column in columns.columns])
    return _closed(
        {str(name): _column(column) for name, column in columns.by_name.items()},
        required=[str(name) for name, column in columns.by_name.items() if column.required],
    )


def params_schema(params: tuple[Param, ...]) -> CoreSchema:
    """The value of `params`: every param may be left out."""
    return _closed({param.name: _param(param) for param in params}, required=())


def may_be_null(column: Column) -> bool:
    """Whether a value can be missing; types without a missing value can only be left out of all rows."""
    never = (Scalar.INTEGER, Scalar.LONG, Scalar.BOOLEAN, Scalar.BINARY)
    return not column.required and column.type not in never


def tensor_schema(tensor: Tensor) -> CoreSchema:
    """Nested lists of the tensor's shape."""
    schema = _leaf(tensor.dtype)
    for length in reversed(tensor.shape):
        schema = _list(schema, least=1 if length < 0 else length, most=None if length < 0 else length)
    return schema


# --- types ---------------------------------------------------------------------------------------------


def _column(column: Column) -> CoreSchema:
    zoned = column.type is Scalar.DATETIME
    schema = _moment(zoned=True) if zoned else _type(column.type, required=column.required)
    return core.nullable_schema(schema) if may_be_null(column) else schema


def _param(param: Param) -> CoreSchema:
    schema = _moment(zoned=True) if param.type is Scalar.DATETIME else _type(param.type, required=True)
    if param.listed:
        schema = _list(schema)
    return core.nullable_schema(schema) if param.default is None else schema


def _type(type_: Type, *, required: bool) -> CoreSchema:
    match type_:
        case Scalar():
            return _scalar(type_)
        case Array():
            return _list(_type(type_.items, required=True), least=1 if required else None)
        case Object():
            return _closed(
                {part.name: _optional(part.type, part.required) for part in type_.properties},
                required=[part.name for part in type_.properties if part.required],
            )
        case Map():
            values = _type(type_.values, required=True)
            return core.dict_schema(core.str_schema(), values, **_FAIL_FAST)
        case Anything():
            return core.any_schema()


def _optional(type_: Type, required: bool) -> CoreSchema:
    schema = _type(type_, required=required)
    return schema if required else core.nullable_schema(schema)


def _scalar(scalar: Scalar) -> CoreSchema:
    match scalar:
        case Scalar.BOOLEAN:
            return core.bool_schema(strict=True)
        case Scalar.INTEGER | Scalar.LONG:
            return _whole(scalar.numpy)
        case Scalar.FLOAT:
            return core.float_schema(strict=True, allow_inf_nan=False, ge=-_FLOAT32, le=_FLOAT32)
        case Scalar.DOUBLE:
            return core.float_schema(strict=True, allow_inf_nan=False)
        case Scalar.STRING:
            return core.str_schema(strict=True)
        case Scalar.BINARY:
            return _text_like(_BASE64, "base64", "must be base64", contentEncoding="base64")
        case Scalar.DATETIME:
            return _moment(zoned=False)


def _moment(*, zoned: bool) -> CoreSchema:
    zone = f"{_ZONE}?" if zoned else ""
    without = "without a zone" if not zoned else "in UTC unless it has a zone"
    return _text_like(
        f"^{_DATE}(?:[T ]{_TIME}{zone})?$",
        "moment",
        "must be a time of the years 1700 to 2259, as 2026-01-31T12:00:00",
        description=f"A time, {without}.",
    )


def _text_like(pattern: str, kind: str, message: str, **told: str) -> CoreSchema:
    text = core.str_schema(strict=True, pattern=pattern, metadata={"pydantic_js_updates": told})
    return core.custom_error_schema(text, custom_error_type=kind, custom_error_message=message)


def _whole(dtype: np.dtype[Any]) -> CoreSchema:
    limits = np.iinfo(dtype)
    return core.int_schema(strict=True, ge=int(limits.min), le=int(limits.max))


def _leaf(dtype: np.dtype[Any]) -> CoreSchema:
    match dtype.kind:
        case "f":
            most = float(np.finfo(dtype).max)
            return core.float_schema(strict=True, allow_inf_nan=False, ge=-most, le=most)
        case "i" | "u":
            return _whole(dtype)
        case "b":
            return core.bool_schema(strict=True)
        case "U":
            return core.str_schema(strict=True)
        case "S":
            return _text_like("^[\\x01-\\x7f]*$", "ascii", "must be ASCII text")
        case "M":
            return _moment(zoned=False)
        case _:
            return core.any_schema()


# --- containers ----------------------------------------------------------------------------------------


def _list(items: CoreSchema, *, least: int | None = None, most: int | None = None) -> CoreSchema:
    # The first wrong item is enough: there may be millions.
    return core.list_schema(items, min_length=least, max_length=most, strict=True, fail_fast=True)


def _closed(fields: Mapping[str, CoreSchema], *, required: Iterable[str]) -> CoreSchema:
    """An object of these fields and no others."""
    # pydantic-core's own errors of these kinds each copy the object, or are one for each of a million names.
    known, needed = frozenset(fields), frozenset(required)

    def check(value: dict[str, Any]) -> dict[str, Any]:
        if not (known.issuperset(value) and (len(value) == len(known) or needed.issubset(value))):
            unknown = islice((name[:_NAME_LIMIT] for name in value if name not in known), _MOST_NAMES)
            missing = islice((name for name in fields if name in needed and name not in value), _MOST_NAMES)
            raise PydanticCustomError(NAMES, "names", {"unknown": list(unknown), "missing": list(missing)})
        return value

    told: dict[str, Any] = {"additionalProperties": False}
    if needed:
        told["required"] = [name for name in fields if name in needed]
    inner = core.typed_dict_schema(
        {name: core.typed_dict_field(schema, required=False) for name, schema in fields.items()},
        extra_behavior="allow",
        strict=True,
        metadata={"pydantic_js_updates": told},
    )
    return core.no_info_after_validator_function(check, inner)
