"""The signature's promise to the model: what reaches it has these columns, in this order, of these types.

The rules are MLflow's own (`mlflow/models/utils.py` of 3.17, `_enforce_schema`), so that a model gets here
what it gets there. Messages name columns of the signature only, never values or names from the request.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from runbake_serving.errors import SchemaMismatch
from runbake_serving.model.arrays import check_room
from runbake_serving.model.signature import (
    Anything,
    Array,
    Column,
    Columns,
    Inputs,
    Map,
    Object,
    Scalar,
    Tensor,
    Tensors,
    Type,
)

REFUSALS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    NotImplementedError,
    pd.errors.InvalidIndexError,
)
"""What numpy and pandas raise for values that do not fit."""


def enforced(data: Any, inputs: Inputs | None) -> Any:
    """The data as the signature promises it to the model; without a signature, as it came.

    Columns: a DataFrame with the signature's columns in its order, others dropped. Tensors: one array, or a
    dict of arrays, of the signature's dtype and shape.

    Raises:
        SchemaMismatch: columns are missing, or values do not fit their types.
    """
    if inputs is None:
        return data
    try:
        if isinstance(inputs, Tensors):
            return _tensors(data, inputs)
        return _columns(_frame_of(data, inputs), inputs)
    except REFUSALS as error:
        raise SchemaMismatch("the data does not fit the model's signature") from error


# --- columns -------------------------------------------------------------------------------------------


def _frame_of(data: Any, inputs: Columns) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, dict):
        return _frame_of_dict(data, inputs)
    if isinstance(data, (list, np.ndarray)):
        _require_one_column(data, inputs)
        return pd.DataFrame(data)
    if np.isscalar(data):
        return pd.DataFrame([data])
    raise SchemaMismatch("the model takes a table")


def _require_one_column(data: Any, inputs: Columns) -> None:
    # An array has no names, so named columns can never be found in it.
    if inputs.named and isinstance(data, np.ndarray):
        raise SchemaMismatch(f"the model takes columns by name: {_names(inputs.by_name)}")


def _frame_of_dict(data: dict[str, Any], inputs: Columns) -> pd.DataFrame:
    one_row = any(isinstance(column.type, (Array, Object)) for column in inputs.columns) or all(
        np.isscalar(value)
        or value is None
        or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        for value in data.values()
    )
    if one_row:
        return pd.DataFrame([data])
    # A DataFrame cannot be made of arrays with more than one dimension.
    flat = {
        name: value.tolist() if isinstance(value, np.ndarray) and value.ndim > 1 else value
        for name, value in data.items()
    }
    return pd.DataFrame(flat)


def _columns(frame: pd.DataFrame, inputs: Columns) -> pd.DataFrame:
    if not inputs.named:
        return _unnamed_columns(frame, inputs)
    given = set(frame.columns)
    required = [name for name, column in inputs.by_name.items() if column.required]
    if missing := [name for name in required if name not in given]:
        raise SchemaMismatch(f"missing columns: {_names(missing)}", column=str(missing[0]))
    return pd.DataFrame(
        {name: _column(frame[name], column) for name, column in inputs.by_name.items() if name in given}
    )


def _unnamed_columns(frame: pd.DataFrame, inputs: Columns) -> pd.DataFrame:
    if len(frame.columns) < len(inputs.columns):
        raise SchemaMismatch(
            f"the model takes {len(inputs.columns)} columns, {len(frame.columns)} were given"
        )
    return pd.DataFrame(
        {
            name: _column(frame[name], column)
            for name, column in zip(frame.columns, inputs.columns, strict=False)
        }
    )


def _column(values: pd.Series, column: Column) -> pd.Series:
    name = f"column {column.name!r}" if column.name is not None else "a column"
    try:
        if isinstance(column.type, Scalar):
            return series_as(values, column.type, name)
        return nested_as(values, column.type, required=column.required, name=name)
    except REFUSALS as error:
        raise SchemaMismatch(f"{name} does not fit the type of the signature", column=column.name) from error


def nested_as(values: pd.Series, type_: Type, *, required: bool, name: str) -> pd.Series:
    """A column whose values are arrays, objects or maps, each of this type; `name` is for the message.

    Raises:
        SchemaMismatch: a value is not of that type.
    """
    checked = []
    for row, value in enumerate(values):
        try:
            checked.append(value_as(value, type_, required=required))
        except SchemaMismatch as error:
            column = values.name if isinstance(values.name, str) else None
            raise SchemaMismatch(f"{name}, row {row}: {error}", column=column, row=row) from error
    return pd.Series(checked, index=values.index, name=values.name)


def series_as(values: pd.Series, scalar: Scalar, name: str = "the data") -> pd.Series:
    """A column of this type, if that loses nothing; `name` is for the message.

    int to long, float to double, integer to double (32 bits) and any datetime precision are safe; a long
    becomes a double only where all values are 0, 1 or missing.

    Raises:
        SchemaMismatch: the types are not compatible.
    """
    if values.dtype == object and scalar not in (Scalar.BINARY, Scalar.STRING):
        values = values.infer_objects()
    if _fits(values, scalar):
        return values
    if scalar is Scalar.DATETIME and (values.dtype == object or values.dtype.kind == "M"):
        return values.astype("datetime64[ns]")
    if scalar is Scalar.BOOLEAN and values.dtype == object:
        return values  # converting would turn missing into False
    if _is_safe(values, scalar.numpy):
        return values.astype(scalar.numpy)
    raise SchemaMismatch(_unsafe(values, scalar, name))


def _fits(values: pd.Series, scalar: Scalar) -> bool:
    dtype = values.dtype
    if scalar in (Scalar.STRING, Scalar.BINARY) and isinstance(dtype, pd.StringDtype):
        return True
    if scalar is Scalar.STRING and dtype in (object,):
        return True
    return dtype in (scalar.pandas, scalar.numpy) or (scalar is Scalar.BINARY and dtype.kind == "S")


def _is_safe(values: pd.Series, target: np.dtype[Any]) -> bool:
    source = values.dtype
    if not isinstance(source, np.dtype):
        return False
    if source.kind == target.kind and source.itemsize <= target.itemsize:
        return True
    if source.kind == "u" and target.kind == "i":
        return bool(source.itemsize < target.itemsize)
    if source.kind in "iu" and target == np.float64 and source.itemsize <= 6:
        return True
    return source == np.int64 and target.kind == "f" and bool(values.isin([0, 1]).all())


def _unsafe(values: pd.Series, scalar: Scalar, name: str) -> str:
    message = f"{name} is {values.dtype}, which cannot safely become {scalar.value}"
    if values.dtype.kind == "f" and scalar in (Scalar.INTEGER, Scalar.LONG) and bool(values.hasnans):
        message += ": whole numbers cannot be missing (a signature with double can)"
    return message


# --- values inside arrays, objects and maps ------------------------------------------------------------


def value_as(value: Any, type_: Type, *, required: bool) -> Any:
    """One value of this type.

    Raises:
        SchemaMismatch: it is not of that type.
    """
    match type_:
        case Scalar():
            return _scalar_as(value, type_, required=required)
        case Array():
            return _array_as(value, type_, required=required)
        case Object():
            return _object_as(value, type_, required=required)
        case Map():
            return _map_as(value, type_, required=required)
        case Anything():
            return value


def _scalar_as(value: Any, scalar: Scalar, *, required: bool) -> Any:
    if not required and (value is None or (isinstance(value, float) and value != value)):
        return None
    if not np.isscalar(value):
        raise SchemaMismatch(f"expected a single {scalar.value}")
    return series_as(pd.Series([value]), scalar).iloc[0]


def _array_as(value: Any, array: Array, *, required: bool) -> Any:
    empty = value is None or (isinstance(value, (list, np.ndarray)) and len(value) == 0)
    if empty and (not required or isinstance(array.items, Anything)):
        return value
    if not isinstance(value, (list, np.ndarray)):
        raise SchemaMismatch("expected a list")
    items = _items_as(value, array.items, required=required)
    if isinstance(value, list) and isinstance(items, np.ndarray):
        return items.tolist()
    if isinstance(value, np.ndarray) and isinstance(items, list):
        return np.array(items)
    return items


def _items_as(value: Any, items: Type, *, required: bool) -> Any:
    if not isinstance(items, Scalar):
        return [value_as(item, items, required=required) for item in value]
    if not len(value):
        return value
    checked = series_as(pd.Series(value), items)
    if items is Scalar.STRING and isinstance(value, list):
        # As numpy's own text every item would take the room of the longest.
        return [str(item) for item in checked]
    return checked.to_numpy(dtype=items.numpy)


def _object_as(value: Any, object_: Object, *, required: bool) -> Any:
    if not required and (value is None or value == {}):
        return value
    if not isinstance(value, dict):
        raise SchemaMismatch("expected an object")
    properties = {property_.name: property_ for property_ in object_.properties}
    if missing := [name for name, item in properties.items() if item.required and name not in value]:
        raise SchemaMismatch(f"an object lacks properties: {_names(missing)}")
    if value.keys() - properties.keys():
        raise SchemaMismatch("an object has properties that the signature does not know")
    return {
        name: value_as(item, properties[name].type, required=properties[name].required)
        for name, item in value.items()
    }


def _map_as(value: Any, map_: Map, *, required: bool) -> Any:
    if (value is None or value == {}) and (not required or isinstance(map_.values, Anything)):
        return value
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SchemaMismatch("expected an object with text keys")
    return {key: value_as(item, map_.values, required=required) for key, item in value.items()}


# --- tensors -------------------------------------------------------------------------------------------


def _tensors(data: Any, inputs: Tensors) -> Any:
    if not inputs.named:
        return _one_tensor(data, inputs.tensors[0])
    named = inputs.by_name
    if len(named) == 1 and isinstance(data, np.ndarray):
        data = {next(iter(named)): data}
    if not isinstance(data, (dict, pd.DataFrame)):
        raise SchemaMismatch(f"the model takes tensors by name: {_names(named)}")
    if missing := [name for name in named if name not in data]:
        raise SchemaMismatch(f"missing tensors: {_names(missing)}")
    if isinstance(data, pd.DataFrame):
        return {name: _tensor_of_column(data[name], tensor) for name, tensor in named.items()}
    return {name: _tensor(data[name], tensor) for name, tensor in named.items()}


def _one_tensor(data: Any, tensor: Tensor) -> Any:
    if not isinstance(data, pd.DataFrame):
        return _tensor(data, tensor)
    if data.empty:
        raise SchemaMismatch("the table is empty")
    if len(data.columns) == 1:
        return _tensor_of_column(data.iloc[:, 0], tensor)
    if tensor.shape != (-1, len(data.columns)):
        raise SchemaMismatch(
            f"a table of {len(data.columns)} columns does not make a tensor of shape {tensor.shape}"
        )
    return _tensor(data.to_numpy(), tensor)


def _tensor(values: Any, tensor: Tensor) -> Any:
    if not isinstance(values, np.ndarray):
        raise SchemaMismatch("the model takes an array")
    if _is_ragged(values, tensor):
        return values
    fits = len(values.shape) == len(tensor.shape) and all(
        wanted in (-1, length) for wanted, length in zip(tensor.shape, values.shape, strict=True)
    )
    if not fits:
        raise SchemaMismatch(f"shape {values.shape} does not match the signature's {tensor.shape}")
    # Text and bytes carry their longest length in the dtype; the signature's has none.
    flexible = {"U": np.dtype("str"), "S": np.dtype("bytes")}
    if flexible.get(values.dtype.char, values.dtype) != tensor.dtype:
        raise SchemaMismatch(f"dtype {values.dtype} does not match the signature's {tensor.dtype}")
    return values


def _is_ragged(values: Any, tensor: Tensor) -> bool:
    if tensor.shape == (-1,) and tensor.dtype == np.dtype(object):
        return True
    flat_objects = values.ndim == 1 and values.dtype == np.dtype(object)
    return flat_objects and len(tensor.shape) > 1 and -1 in tensor.shape[1:]


def _tensor_of_column(column: pd.Series, tensor: Tensor) -> Any:
    if not tensor.shape or tensor.shape[0] != -1 or -1 in tensor.shape[1:]:
        raise SchemaMismatch(f"a table cannot make a tensor of shape {tensor.shape}")
    first = column.iloc[0]
    if np.isscalar(first):
        if tensor.shape not in ((-1,), (-1, 1)):
            raise SchemaMismatch(f"single values do not make a tensor of shape {tensor.shape}")
        if tensor.dtype.kind in "US":
            check_room(column.tolist())
        return _tensor(np.array(column, dtype=tensor.dtype).reshape(tensor.shape), tensor)
    if not (isinstance(first, list) and first and np.isscalar(first[0])):
        raise SchemaMismatch("a tensor's column holds single values or flat lists of them")
    rows = column.tolist()
    check_room(rows)
    values = np.vstack(rows).reshape(tensor.shape).astype(tensor.dtype)
    if len(values) != len(column):
        raise SchemaMismatch(f"the lists do not make a tensor of shape {tensor.shape}")
    return values


def _names(names: Any) -> str:
    listed = [repr(name) for name in names]
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
