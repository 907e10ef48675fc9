"""What JSON and csv mean under a signature: JSON knows no dates, bytes or widths of numbers.

The rules are MLflow's own (`mlflow/utils/proto_json_utils.py` of 3.17); `enforcement` checks the outcome.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd

from runbake_serving.errors import InvalidRequest
from runbake_serving.model.arrays import array_of
from runbake_serving.model.enforcement import REFUSALS, nested_as, value_as
from runbake_serving.model.signature import (
    Anything,
    Array,
    Column,
    Columns,
    Inputs,
    Scalar,
    Tensor,
    Tensors,
)
from runbake_serving.prediction.blame import first_bad_row

Spec = Column | Tensor


def specs_of(inputs: Inputs | None) -> dict[str, Spec]:
    """Columns or tensors by name; empty where there are no names."""
    if inputs is None or not inputs.named:
        return {}
    return {**inputs.by_name}


def first_spec(inputs: Inputs | None) -> Spec | None:
    """What a bare value is cast to."""
    if inputs is None:
        return None
    return inputs.columns[0] if isinstance(inputs, Columns) else inputs.tensors[0]


def casting() -> np.errstate:
    """How numpy casts: beyond a float's range is infinite, as in MLflow; beyond an integer's an error."""
    return np.errstate(over="ignore", invalid="raise")


# --- tables --------------------------------------------------------------------------------------------


def cast_frame(frame: pd.DataFrame, inputs: Inputs | None) -> pd.DataFrame:
    """The table with its columns cast to the signature's types where they are there.

    Raises:
        InvalidRequest: a value cannot be cast; the message names the column.
    """
    for name, spec in _pairs(frame, inputs):
        try:
            with casting():
                frame[name] = _cast_column(frame[name], spec)
        except REFUSALS as error:
            raise _unreadable(frame[name], spec) from error
    return frame


def _unreadable(values: pd.Series, spec: Spec) -> InvalidRequest:
    def fails(rows: int) -> bool:
        try:
            with casting():
                _cast_column(values.iloc[:rows], spec)
        except REFUSALS:
            return True
        return False

    row = first_bad_row(len(values), fails)
    where = f" in row {row}" if row is not None else ""
    return InvalidRequest(
        f"{_title(spec)} cannot be read as {_type_name(spec)}{where}", column=spec.name, row=row
    )


def _pairs(frame: pd.DataFrame, inputs: Inputs | None) -> list[tuple[Any, Spec]]:
    if inputs is None:
        return []
    if inputs.named:
        given = set(frame.columns)
        return [(name, spec) for name, spec in specs_of(inputs).items() if name in given]
    if isinstance(inputs, Tensors):
        return [(name, inputs.tensors[0]) for name in frame.columns]
    return list(zip(frame.columns, inputs.columns, strict=False))


def _cast_column(values: pd.Series, spec: Spec) -> pd.Series:
    if isinstance(spec, Tensor):
        return _cast_tensor_column(values, spec)
    if isinstance(spec.type, Anything):
        return values
    if isinstance(spec.type, Scalar):
        return _cast_scalars(values, spec.type)
    return nested_as(values, spec.type, required=spec.required, name=_title(spec))


def _cast_scalars(values: pd.Series, scalar: Scalar) -> pd.Series:
    if scalar is Scalar.BINARY:
        return values.map(lambda text: base64.decodebytes(bytes(text, "utf8"))).astype(object)
    if scalar is Scalar.DATETIME:
        moments = pd.to_datetime(values)
        return moments.dt.as_unit("ns") if pd.api.types.is_datetime64_any_dtype(moments) else moments
    if scalar is Scalar.STRING and isinstance(values.dtype, pd.StringDtype):
        return values
    if scalar in (Scalar.INTEGER, Scalar.LONG):
        _check_range(values, scalar)
    return values.astype(scalar.pandas)


def _check_range(values: pd.Series, scalar: Scalar) -> None:
    # pandas wraps what is out of range around without a word, and so does MLflow: 2**40 became 0.
    if values.dtype.kind not in "iuf":
        return
    limits = np.iinfo(scalar.numpy)
    # Compared with a float all would be floats, where the largest longs round up to 2**63, which is none.
    too_large = values >= float(limits.max) + 1 if values.dtype.kind == "f" else values > limits.max
    if bool(((values < limits.min) | too_large).any()):
        raise OverflowError


def _cast_tensor_column(values: pd.Series, tensor: Tensor) -> pd.Series:
    if len(values) and isinstance(values.iloc[0], list):
        return values  # `enforcement` gives lists their shape
    if tensor.dtype == np.dtype("bytes"):
        return values.map(lambda text: bytes(text, "utf8"))
    if tensor.dtype.kind in "UO" and isinstance(values.dtype, pd.StringDtype):
        return values
    return values.astype(tensor.dtype)


# --- arrays --------------------------------------------------------------------------------------------


def cast_value(value: Any, spec: Spec | None) -> Any:
    """One value of `inputs` or `instances` as the signature's type; without a spec, an array.

    Raises:
        InvalidRequest: it cannot be cast.
    """
    try:
        with casting():
            if spec is None:
                return array_of(value)
            if isinstance(spec, Tensor):
                return array_of(value, spec.dtype)
            return _cast_for_column(value, spec)
    except REFUSALS as error:
        raise InvalidRequest(f"{_title(spec)} cannot be read as {_type_name(spec)}") from error


def _cast_for_column(value: Any, column: Column) -> Any:
    kind = column.type
    if isinstance(kind, Scalar):
        if not isinstance(value, list):
            return np.array([value], kind.numpy)[0]
        if kind is Scalar.STRING and not any(isinstance(item, (list, np.ndarray)) for item in value):
            # As numpy's own text every item would take the room of the longest.
            return np.array([str(item) for item in value], dtype=object)
        return array_of(value, kind.numpy)
    checked = value_as(value, kind, required=column.required)
    return array_of(checked) if isinstance(kind, Array) else checked


def _title(spec: Spec | None) -> str:
    if spec is None:
        return "the data"
    word = "column" if isinstance(spec, Column) else "tensor"
    return f"{word} {spec.name!r}" if spec.name is not None else "the data"


def _type_name(spec: Spec | None) -> str:
    if spec is None:
        return "an array"
    if isinstance(spec, Tensor):
        return str(spec.dtype)
    return spec.type.value if isinstance(spec.type, Scalar) else type(spec.type).__name__.lower()
