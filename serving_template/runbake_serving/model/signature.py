"""What a model takes: MLflow's signature as frozen types, read without MLflow.

Source: mlflow/types/schema.py of MLflow 3.17 (`ColSpec`, `TensorSpec`, `ParamSpec`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Union

import numpy as np

from runbake_serving.errors import StartError


class Scalar(Enum):
    """MLflow's scalar column types."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    BINARY = "binary"
    DATETIME = "datetime"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The type of an array of them; text and bytes without a length."""
        return np.dtype(_NUMPY[self])

    @property
    def pandas(self) -> np.dtype[Any]:
        """The type of a column of them."""
        return np.dtype(object) if self in (Scalar.STRING, Scalar.BINARY) else self.numpy


_NUMPY = {
    Scalar.BOOLEAN: "bool",
    Scalar.INTEGER: "int32",
    Scalar.LONG: "int64",
    Scalar.FLOAT: "float32",
    Scalar.DOUBLE: "float64",
    Scalar.STRING: "str",
    Scalar.BINARY: "bytes",
    Scalar.DATETIME: "datetime64[ns]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """A list whose items have one type."""

    items: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One named value of an object."""

    name: str
    type: Type
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A JSON object with known properties, in the signature's order."""

    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A JSON object with any text keys and values of one type."""

    values: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Anything:
    """A value that is handed on as it came."""


Type = Union[Scalar, Array, Object, Map, Anything]  # noqa: UP007 - the classes above name it before it is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; `name` is None in a signature without names."""

    name: str | None
    type: Type
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor; -1 in `shape` is any length."""

    name: str | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A signature of columns: the model takes a DataFrame."""

    columns: tuple[Column, ...]

    @property
    def named(self) -> bool:
        """Whether columns are found by name, and not by position."""
        return bool(self.columns) and self.columns[0].name is not None

    @property
    def by_name(self) -> dict[str, Column]:
        """The named columns in order."""
        return {column.name: column for column in self.columns if column.name is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """A signature of tensors: one array, or named arrays."""

    tensors: tuple[Tensor, ...]

    @property
    def named(self) -> bool:
        """Whether tensors are found by name; a signature without names has exactly one."""
        return bool(self.tensors) and self.tensors[0].name is not None

    @property
    def by_name(self) -> dict[str, Tensor]:
        """The named tensors in order."""
        return {tensor.name: tensor for tensor in self.tensors if tensor.name is not None}


Inputs = Union[Columns, Tensors]  # noqa: UP007


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter of a prediction; `listed` means a list of values of the type."""

    name: str
    type: Scalar | Object
    default: Any
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What goes in and what comes out; None means that the model did not say.

    `params` None (not said) differs from () in MLflow too: nothing is checked. `outputs` is for telling
    callers only: an answer is never checked against it.
    """

    inputs: Inputs | None = None
    params: tuple[Param, ...] | None = None
    outputs: Inputs | None = None


def signature_of(document: Mapping[str, Any] | None) -> Signature:
    """The signature in MLmodel's `signature` section; an absent section gives an empty signature.

    Raises:
        StartError: not a signature as MLflow writes it.
    """
    if not document:
        return Signature()
    try:
        inputs, params = _loaded(document.get("inputs")), _loaded(document.get("params"))
        outputs = _loaded(document.get("outputs"))
        return Signature(
            inputs=_inputs(inputs) if inputs else None,
            params=tuple(_param(param) for param in params) if params is not None else None,
            outputs=_inputs(outputs) if outputs else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise StartError(
            "the model's signature is not one that this runtime reads "
            f"({type(error).__name__}: {str(error)[:200]})",
            hint="log the model again with mlflow 3 and a signature from mlflow.models.infer_signature",
        ) from error


def _loaded(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text


def _inputs(items: list[dict[str, Any]]) -> Inputs:
    named = [item.get("name") is not None for item in items]
    if any(named) != all(named):
        raise ValueError("some inputs have names and others do not")
    if all(item["type"] == "tensor" for item in items):
        if len(items) > 1 and not all(named):
            raise ValueError("several tensors without names")
        return Tensors(tensors=tuple(_tensor(item) for item in items))
    return Columns(columns=tuple(_column(item) for item in items))


def _tensor(item: dict[str, Any]) -> Tensor:
    spec = item["tensor-spec"]
    return Tensor(
        name=item.get("name"),
        dtype=np.dtype(spec["dtype"]),
        shape=tuple(int(length) for length in spec["shape"]),
    )


def _column(item: dict[str, Any]) -> Column:
    return Column(name=item.get("name"), type=_type(item), required=_required(item))


def _required(item: dict[str, Any]) -> bool:
    # MLflow 2.0 to 2.9 wrote `optional`.
    required = item.get("required")
    return not item.get("optional", False) if required is None else bool(required)


def _type(item: dict[str, Any]) -> Type:
    match item["type"]:
        case "array":
            return Array(items=_type(item["items"]))
        case "object":
            return Object(
                properties=tuple(
                    Property(name=name, type=_type(property_), required=_required(property_))
                    for name, property_ in item["properties"].items()
                )
            )
        case "map":
            return Map(values=_type(item["values"]))
        case "any":
            return Anything()
        case "sparkml_vector":
            return Array(items=Scalar.DOUBLE)
        case name:
            return Scalar(name)


def _param(item: dict[str, Any]) -> Param:
    name = item.get("type") or item["dtype"]
    kind = _type({**item, "type": name})
    if not isinstance(kind, (Scalar, Object)):
        raise ValueError(f"params of type {name}")
    return Param(
        name=str(item["name"]), type=kind, default=item["default"], listed=item.get("shape") is not None
    )
