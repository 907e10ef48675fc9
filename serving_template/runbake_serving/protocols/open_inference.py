"""The Open Inference Protocol (V2) over REST: a request's tensors become what the signature takes.

Columns: one tensor for each, of shape [n] or [n, 1] (lists: [n, …]); or, where all columns are numbers, one
tensor of shape [n, columns] under any other name, its columns in the signature's order. Texts are BYTES,
times BYTES in ISO 8601, objects and maps BYTES in JSON, binary values BYTES: as they are in binary data, as
base64 in JSON. Tensors: by name, or the only one by any name. No signature: one tensor as it is; several of
shape [n] or [n, 1] as the columns of a table.

Types are the caller's word: nothing is cast that the signature would not safely take.

Source: kserve/open-inference-protocol, required API; Triton's extension for binary tensor data.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pandas as pd

from runbake_serving.errors import InvalidRequest, SchemaMismatch
from runbake_serving.model.arrays import array_of
from runbake_serving.model.casting import cast_frame
from runbake_serving.model.model import Model, Question, TableArray
from runbake_serving.model.signature import Array, Column, Columns, Map, Object, Scalar, Tensor, Tensors
from runbake_serving.protocols.tensor_columns import table_of
from runbake_serving.protocols.tensors import BYTES, DATATYPES, array_of_bytes, array_of_json, shape_of

_CONTENT_TYPES = ("np", "pd", "str")
"""MLServer's hints of how to decode; the signature says the same."""
_CONTROLS = ("binary_data_output", "content_type")
_NUMBERS = (Scalar.BOOLEAN, Scalar.INTEGER, Scalar.LONG, Scalar.FLOAT, Scalar.DOUBLE)
_FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the caller wants of the answer.

    Attributes:
        outputs: names, and whether each is to be binary; None: all.
        binary: whether outputs that are not named are to be binary.
    """

    id: str | None
    outputs: Mapping[str, bool] | None
    binary: bool


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    title: str
    array: np.ndarray[Any, Any]


def inference_of(body: bytes, json_length: str, model: Model) -> tuple[Question, Wanted]:
    """What one body of an infer request asks.

    `json_length` is its `Inference-Header-Content-Length`, or empty.

    Raises:
        InvalidRequest: the body is not what the protocol says.
        SchemaMismatch: its tensors are not those of the model, or a parameter is unknown.
    """
    document, binary = _split(body, json_length)
    table = None if binary else table_of(document.get("inputs"), model)
    inputs = [] if table is not None else _inputs(document, binary)
    parameters = _object(document.get("parameters"), "parameters")
    wanted = Wanted(
        id=_id(document.get("id")),
        outputs=_outputs(document.get("outputs"), default=_flag(parameters, "binary_data_output")),
        binary=_flag(parameters, "binary_data_output"),
    )
    params = _params(parameters, model)
    if table is not None:
        return Question(data=table, params=params), wanted
    try:
        return Question(data=_data(inputs, model), params=params), wanted
    except _FAULTS as error:
        raise InvalidRequest("the tensors cannot be read as the model takes them") from error


# --- the body ------------------------------------------------------------------------------------------


def _split(body: bytes, json_length: str) -> tuple[dict[str, Any], bytes]:
    length = len(body)
    if json_length:
        if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 16):
            raise InvalidRequest("Inference-Header-Content-Length must be a whole number")
        length = int(json_length)
        if length > len(body):
            raise InvalidRequest("Inference-Header-Content-Length is larger than the body")
    try:
        # Slices of bytes, no memoryviews: before 3.11.9 Python crashes when the garbage of a refusal holds
        # one in use. Source: https://github.com/python/cpython/issues/77894
        document = orjson.loads(body[:length])
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("the body is not valid JSON") from error
    return _object(document, "the body"), body[length:]


def _object(value: Any, title: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{title} must be a JSON object")
    return value


def _id(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequest("id must be a text")
    return value


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false")
    return value


def _inputs(document: Mapping[str, Any], binary: bytes) -> list[_Input]:
    items = document.get("inputs")
    if not isinstance(items, list) or not items:
        raise InvalidRequest("inputs must be a list of tensors")
    inputs, at = list[_Input](), 0
    for number, item in enumerate(items):
        tensor, size = _input(_object(item, f"input {number}"), f"input {number}", binary, at)
        inputs.append(tensor)
        at += size
    if at != len(binary):
        raise InvalidRequest("the body has more binary data than its tensors")
    if len({tensor.name for tensor in inputs}) != len(inputs):
        raise InvalidRequest("two inputs have one name")
    return inputs


def _input(item: Mapping[str, Any], title: str, binary: bytes, at: int) -> tuple[_Input, int]:
    name, datatype = item.get("name"), item.get("datatype")
    if not isinstance(name, str):
        raise InvalidRequest(f"{title}: name must be a text")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(f"{title}: datatype must be one of {', '.join(DATATYPES)}")
    shape = shape_of(item.get("shape"), title)
    parameters = _object(item.get("parameters"), f"{title}: parameters")
    _check_hint(parameters)
    if parameters.keys() - {"binary_data_size", "content_type"}:
        raise InvalidRequest(f"{title}: of parameters only binary_data_size is known")
    size = parameters.get("binary_data_size")
    if size is None:
        return _Input(name, title, array_of_json(item.get("data"), datatype, shape, title)), 0
    if type(size) is not int or not 0 <= size <= len(binary) - at or "data" in item:
        raise InvalidRequest(f"{title}: binary_data_size must be the size of its part of the binary data")
    return _Input(name, title, array_of_bytes(binary[at : at + size], datatype, shape, title)), size


def _check_hint(parameters: Mapping[str, Any]) -> None:
    if parameters.get("content_type", "np") not in _CONTENT_TYPES:
        raise InvalidRequest(f"content_type may be one of {', '.join(_CONTENT_TYPES)}")


def _outputs(items: Any, *, default: bool) -> Mapping[str, bool] | None:
    if items is None:
        return None
    if not isinstance(items, list):
        raise InvalidRequest("outputs must be a list")
    wanted: dict[str, bool] = {}
    for item in items:
        output = _object(item, "each of outputs")
        parameters = _object(output.get("parameters"), "an output's parameters")
        if "classification" in parameters:
            raise InvalidRequest("the classification extension is not supported: ask for the output itself")
        if not isinstance(output.get("name"), str) or parameters.keys() - {"binary_data"}:
            raise InvalidRequest("an output has a name, and of parameters only binary_data")
        wanted[output["name"]] = _flag({"binary_data": default, **parameters}, "binary_data")
    return wanted or None


def _params(parameters: Mapping[str, Any], model: Model) -> dict[str, Any] | None:
    _check_hint(parameters)
    given = {
        name: value
        for name, value in parameters.items()
        if name not in ("binary_data_output", "content_type")
    }
    known = [param.name for param in model.signature.params or ()]
    if given.keys() - set(known):
        names = f"it takes {', '.join(map(repr, known))}" if known else "it takes none"
        raise SchemaMismatch(f"parameters has a name that the model does not know: {names}")
    return given or None


# --- data ----------------------------------------------------------------------------------------------


def _data(inputs: Sequence[_Input], model: Model) -> Any:
    signed = model.inputs
    if isinstance(signed, Columns):
        return _table(inputs, signed, model)
    if isinstance(signed, Tensors):
        return _tensors(inputs, signed)
    if len(inputs) == 1:
        return _decoded(inputs[0].array)
    if all(_is_column(tensor) for tensor in inputs) and len({len(tensor.array) for tensor in inputs}) == 1:
        return pd.DataFrame({tensor.name: _decoded(tensor.array).reshape(-1) for tensor in inputs})
    return {tensor.name: _decoded(tensor.array) for tensor in inputs}


def _is_column(tensor: _Input) -> bool:
    return tensor.array.ndim == 1 or (tensor.array.ndim == 2 and tensor.array.shape[1] == 1)


def _tensors(inputs: Sequence[_Input], signed: Tensors) -> Any:
    if not signed.named:
        if len(inputs) != 1:
            raise SchemaMismatch("the model takes one tensor")
        return _as_tensor(inputs[0], signed.tensors[0])
    _check_known(inputs, signed.by_name)
    return {tensor.name: _as_tensor(tensor, signed.by_name[tensor.name]) for tensor in inputs}


def _as_tensor(tensor: _Input, spec: Tensor) -> Any:
    if tensor.array.dtype.kind != "O":
        return tensor.array
    if spec.dtype.kind == "S":
        return array_of([_raw(value) for value in tensor.array.reshape(-1)], np.dtype("S")).reshape(
            tensor.array.shape
        )
    texts = _decoded(tensor.array)
    if spec.dtype.kind == "U":
        return array_of(texts.tolist(), np.dtype("U")).reshape(texts.shape)
    return texts


def _check_known(inputs: Sequence[_Input], known: Mapping[str, Any]) -> None:
    if unknown := [tensor.title for tensor in inputs if tensor.name not in known]:
        names = ", ".join(map(repr, list(known)[:20]))
        raise SchemaMismatch(f"{unknown[0]} is not one that the model takes: it takes {names}")


def _table(inputs: Sequence[_Input], signed: Columns, model: Model) -> Any:
    names = list(signed.by_name) if signed.named else list(range(len(signed.columns)))
    whole = _whole_table(inputs, signed)
    if whole is not None:
        return _array(whole, model) or pd.DataFrame(whole, columns=names)
    if signed.named:
        _check_known(inputs, signed.by_name)
    elif len(inputs) > len(names):
        raise SchemaMismatch(f"the model takes {len(names)} columns")
    specs = signed.by_name.items() if signed.named else enumerate(signed.columns)
    by_name: dict[Any, _Input] = (
        {tensor.name: tensor for tensor in inputs} if signed.named else dict(enumerate(inputs))
    )
    given = {name: spec for name, spec in specs if name in by_name}
    if len({len(tensor.array) if tensor.array.ndim else -1 for tensor in inputs}) > 1:
        raise InvalidRequest("the inputs have different numbers of rows")
    if len(given) == len(names) and all(_is_column(tensor) for tensor in inputs):
        dtypes = {tensor.array.dtype for tensor in inputs}
        if len(dtypes) == 1 and _is_wanted(dtypes.pop(), model):
            return TableArray(np.column_stack([by_name[name].array.reshape(-1) for name in names]))
    frame = pd.DataFrame({name: _column(by_name[name], spec) for name, spec in given.items()})
    moments = tuple(spec for spec in given.values() if spec.type is Scalar.DATETIME and signed.named)
    return cast_frame(frame, Columns(columns=moments)) if moments else frame


def _whole_table(inputs: Sequence[_Input], signed: Columns) -> np.ndarray[Any, Any] | None:
    """The only tensor, where it is a table of all columns."""
    array = inputs[0].array
    if len(inputs) > 1 or array.ndim != 2 or array.shape[1] != len(signed.columns) or array.dtype.kind == "O":
        return None
    if inputs[0].name in signed.by_name or any(column.type not in _NUMBERS for column in signed.columns):
        return None
    return array


def _is_wanted(dtype: np.dtype[Any], model: Model) -> bool:
    wanted = model.rules.array_dtype
    return wanted is not None and model.quick_tables and dtype == np.dtype(wanted)


def _array(table: np.ndarray[Any, Any], model: Model) -> TableArray | None:
    return TableArray(table) if len(table) and _is_wanted(table.dtype, model) else None


def _column(tensor: _Input, column: Column) -> Any:
    kind, array = column.type, tensor.array
    if isinstance(kind, Array):
        if not array.ndim:
            raise InvalidRequest(f"{tensor.title}: a column of lists has a row for each", column=column.name)
        return _decoded(array).tolist()
    if not _is_column(tensor):
        raise InvalidRequest(f"{tensor.title}: a column has the shape [n] or [n, 1]", column=column.name)
    flat = array.reshape(-1)
    if flat.dtype.kind != "O":
        return flat
    if kind is Scalar.BINARY:
        return pd.Series([_raw(value) for value in flat], dtype=object)
    if isinstance(kind, (Object, Map)):
        return pd.Series([orjson.loads(value) for value in flat], dtype=object)
    return _decoded(flat).tolist()


def _raw(value: Any) -> bytes:
    # JSON has no bytes: MLflow's rule is base64, with line breaks or without.
    return base64.b64decode(value, validate=False) if isinstance(value, str) else value


def _decoded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Texts for bytes; numbers as they are."""
    if array.dtype.kind != "O":
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [value.decode() if isinstance(value, bytes) else value for value in array.reshape(-1)]
    return texts.reshape(array.shape)


__all__ = ["BYTES", "Wanted", "inference_of"]
