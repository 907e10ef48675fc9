"""What comes back: predictions as the signature describes them, problems, and every answer's headers."""

from __future__ import annotations

from typing import Any

import numpy as np

from runbake_serving.contract import HEADER_IMAGE, HEADER_MODEL_VERSION, HEADER_PROVENANCE, HEADER_RUN_ID
from runbake_serving.model.signature import (
    Anything,
    Array,
    Columns,
    Inputs,
    Map,
    Object,
    Scalar,
    Tensors,
    Type,
)

Schema = dict[str, Any]

_NUMBER: Schema = {"type": ["number", "null"]}
_SCALARS = {
    Scalar.BOOLEAN: {"type": ["boolean", "null"]},
    Scalar.INTEGER: {"type": ["integer", "null"]},
    Scalar.LONG: {"type": ["integer", "null"]},
    Scalar.FLOAT: _NUMBER,
    Scalar.DOUBLE: _NUMBER,
    Scalar.STRING: {"type": ["string", "null"]},
    Scalar.BINARY: {"type": ["string", "null"], "contentEncoding": "base64"},
    Scalar.DATETIME: {"type": ["string", "null"]},
}
_KINDS: dict[str, Schema] = {
    "f": _NUMBER,
    "i": {"type": "integer"},
    "u": {"type": "integer"},
    "b": {"type": "boolean"},
    "U": {"type": "string"},
    "S": {"type": "string", "contentEncoding": "base64"},
}

HEADERS: dict[str, Schema] = {
    "X-Request-Id": {
        "description": "The request's id, as given or made; the log has it too.",
        "required": True,
        "schema": {"type": "string"},
    },
    HEADER_RUN_ID: {"description": "The MLflow run that the model comes from.", "schema": {"type": "string"}},
    HEADER_MODEL_VERSION: {
        "description": "The version under which it was registered.",
        "schema": {"type": "string"},
    },
    HEADER_PROVENANCE: {
        "description": "The digest of the label file (`/provenance`).",
        "schema": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    },
    HEADER_IMAGE: {
        "description": "The digest of the image, where those who started it told it.",
        "schema": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    },
}
"""Headers of every answer."""

PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457), with the keys of MLflow's own server.",
    "required": ["type", "title", "status", "detail", "error_code", "message"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error_code": {"type": "string", "description": "MLflow's name of the error."},
        "message": {"type": "string", "description": "As `detail`, for MLflow's clients."},
        "request_id": {"type": "string"},
        "column": {"type": "string"},
        "row": {"type": "integer", "minimum": 0, "description": "Counts from 0."},
        "error": {
            "type": "string",
            "description": "As `detail`, for clients of the Open Inference Protocol.",
        },
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Fault"}},
    },
}
FAULT: Schema = {
    "type": "object",
    "required": ["pointer", "detail"],
    "properties": {
        "pointer": {"type": "string", "description": "JSON Pointer to the value in the body."},
        "detail": {"type": "string"},
        "row": {"type": "integer", "minimum": 0},
        "column": {"type": "string"},
    },
}


def predictions_schema(outputs: Inputs | None) -> Schema:
    """`{"predictions": …}` for these outputs of the signature; missing numbers are null."""
    return {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": _predictions(outputs)},
    }


def _predictions(outputs: Inputs | None) -> Schema:
    if outputs is None:
        return {"description": "One prediction for each row, as a rule; the model does not say."}
    if isinstance(outputs, Columns):
        return {"type": "array", "items": _row(outputs)}
    return _tensors(outputs)


def _row(outputs: Columns) -> Schema:
    if outputs.named:
        names = {str(name): _type(column.type) for name, column in outputs.by_name.items()}
        return {"type": "object", "properties": names}
    if len(outputs.columns) > 1:
        return {}
    # A list has values, a Series an object with its name, which the signature does not keep.
    value = _type(outputs.columns[0].type)
    return {"anyOf": [value, {"type": "object", "additionalProperties": value}]}


def _tensors(outputs: Tensors) -> Schema:
    if outputs.named:
        return {}
    [tensor] = outputs.tensors
    schema = dict(_KINDS.get(np.dtype(tensor.dtype).kind, {}))
    for length in reversed(tensor.shape):
        bounds = {"minItems": length, "maxItems": length} if length >= 0 else {}
        schema = {"type": "array", "items": schema, **bounds}
    return schema


def _type(type_: Type) -> Schema:
    match type_:
        case Scalar():
            return dict(_SCALARS[type_])
        case Array():
            return {"type": ["array", "null"], "items": _type(type_.items)}
        case Object():
            return {
                "type": ["object", "null"],
                "properties": {part.name: _type(part.type) for part in type_.properties},
            }
        case Map():
            return {"type": ["object", "null"], "additionalProperties": _type(type_.values)}
        case Anything():
            return {}
