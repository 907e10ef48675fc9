"""Tensors of the Open Inference Protocol as arrays, in JSON and in binary, and back.

JSON: values flat in row-major order, or nested as the shape says. null stands for a missing number (NaN) in
floats, in both directions, since JSON has no NaN. Binary: little-endian, row-major; a BYTES value begins with
its length in four bytes.

Source: kserve/open-inference-protocol, required API and binary tensor data extension.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson

from runbake_serving.errors import InvalidRequest, ModelFailed, NotAcceptable

BYTES = "BYTES"
DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    BYTES: np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_MOST_DIMENSIONS = 32
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_LENGTH = struct.Struct("<I")
PLAIN: Mapping[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({float, int, type(None)}),
    "O": frozenset({str}),
}
"""What JSON may have for each kind of datatype."""


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The datatype of arrays of this dtype; what is no number is BYTES."""
    return _NAMES.get(dtype.newbyteorder("<"), BYTES)


def shape_of(value: Any, title: str) -> tuple[int, ...]:
    """A tensor's shape, from its JSON; `title` is for the message.

    Raises:
        InvalidRequest: not a list of lengths.
    """
    is_shape = isinstance(value, list) and len(value) <= _MOST_DIMENSIONS
    if not is_shape or not all(type(length) is int and length >= 0 for length in value):
        raise InvalidRequest(f"{title}: shape must be a list of up to {_MOST_DIMENSIONS} lengths")
    return tuple(value)


# --- from JSON -----------------------------------------------------------------------------------------


def array_of_json(data: Any, datatype: str, shape: tuple[int, ...], title: str) -> np.ndarray[Any, Any]:
    """The tensor that this JSON data is; texts are `str` objects.

    Raises:
        InvalidRequest: values are missing or too many, or not of the datatype.
    """
    values, dtype = _flat(data, shape, title), DATATYPES[datatype]
    if not PLAIN[dtype.kind].issuperset(map(type, values)):
        raise InvalidRequest(f"{title}: data must be {datatype} values")
    try:
        if dtype.kind in "iu":
            _check_range(values, dtype)
        with np.errstate(over="ignore"):
            return np.array(values, dtype=dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{title}: a value is out of the range of {datatype}") from error


def _flat(data: Any, shape: tuple[int, ...], title: str) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRequest(f"{title}: data must be a list")
    if not any(isinstance(item, list) for item in data):
        if len(data) != math.prod(shape):
            raise InvalidRequest(f"{title}: data has {len(data)} values, its shape {math.prod(shape)}")
        return data
    level: list[Any] = [data]
    for length in shape:
        if any(not isinstance(item, list) or len(item) != length for item in level):
            raise InvalidRequest(f"{title}: data is not nested as its shape says")
        level = list(chain.from_iterable(level))
    return level


def _check_range(values: list[int], dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    if values and (min(values) < limits.min or max(values) > limits.max):
        raise OverflowError


# --- from bytes ----------------------------------------------------------------------------------------


def array_of_bytes(data: bytes, datatype: str, shape: tuple[int, ...], title: str) -> np.ndarray[Any, Any]:
    """The tensor that these bytes are; texts are `bytes` objects.

    Raises:
        InvalidRequest: not as many bytes as shape and datatype need.
    """
    count, dtype = math.prod(shape), DATATYPES[datatype]
    if datatype == BYTES:
        return _texts_of_bytes(data, count, title).reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise InvalidRequest(
            f"{title}: {len(data)} bytes of data, its shape and datatype need {count * dtype.itemsize}"
        )
    if dtype.kind == "b" and count and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidRequest(f"{title}: a byte of BOOL must be 0 or 1")
    # A copy: models may write into what they get, and the body's bytes are not to be held for it.
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _texts_of_bytes(data: bytes, count: int, title: str) -> np.ndarray[Any, Any]:
    if count > len(data) // _LENGTH.size:
        raise InvalidRequest(f"{title}: too few bytes of data for its shape")
    texts, at = np.empty(count, dtype=object), 0
    for number in range(count):
        end = at + _LENGTH.size
        if end <= len(data):
            end += _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            raise InvalidRequest(f"{title}: value {number} reaches over the end of the data")
        texts[number] = bytes(data[at + _LENGTH.size : end])
        at = end
    if at != len(data):
        raise InvalidRequest(f"{title}: more bytes of data than its shape needs")
    return texts


# --- to JSON and bytes ---------------------------------------------------------------------------------


def typed(values: Any) -> np.ndarray[Any, Any]:
    """These values as an array of one of the protocol's dtypes; of `bytes` where they are no numbers.

    What is neither number nor text is written as JSON, times as ISO 8601, what is missing as no bytes at all.

    Raises:
        ModelFailed: JSON cannot carry a value.
    """
    array = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=_dtype_of(values))
    if array.dtype.newbyteorder("<") in _NAMES and array.dtype.kind != "O":
        return array
    texts = np.empty(array.size, dtype=object)
    for number, value in enumerate(_items(array)):
        texts[number] = _bytes_of(value)
    return texts.reshape(array.shape)


def _dtype_of(values: Any) -> Any:
    # Of mixed values numpy would make texts.
    kinds = set(map(type, values)) if isinstance(values, list) else set()
    return object if len(kinds) > 1 and not kinds <= {int, float} else None


def _items(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind == "M":
        return np.datetime_as_string(array.reshape(-1)).tolist()
    return array.reshape(-1).tolist()


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, str):
        return b"" if value == "NaT" else value.encode("utf-8", "replace")
    if isinstance(value, bytes):
        return value
    if value is None or (isinstance(value, float) and value != value):
        return b""
    try:
        return orjson.dumps(
            value, default=_missing, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        )
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ModelFailed("the model's answer cannot be written as tensors") from error


def _missing(value: Any) -> Any:
    text = str(value)
    return None if text in ("NaT", "<NA>") else text


def json_of_array(array: np.ndarray[Any, Any]) -> Any:
    """The flat data of a `typed` array, as orjson takes them.

    Raises:
        NotAcceptable: bytes that are not text.
    """
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array.reshape(-1), dtype=array.dtype.newbyteorder("="))
    try:
        return [value.decode() for value in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise NotAcceptable("the model's answer has bytes that are no text: ask for binary data") from error


def bytes_of_array(array: np.ndarray[Any, Any]) -> bytes:
    """The binary data of a `typed` array."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return b"".join(chain.from_iterable((_LENGTH.pack(len(value)), value) for value in array.reshape(-1)))
