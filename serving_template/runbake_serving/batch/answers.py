"""The model's answer as columns: named and typed from the signature, one value for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runbake_serving.batch.failures import BatchFailure
from runbake_serving.model.signature import Column, Columns, Inputs, Scalar

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd

_MOST_COLUMNS = 1000
"""A wider answer is one column of lists."""


def columns_of(answer: Any, rows: int, outputs: Inputs | None, name: str) -> dict[str, Any]:
    """Columns by name: arrays whose first dimension is `rows`, or lists of so many values.

    Names are the signature's; without them `name`, or `name_0`, `name_1`, … for several. A number is widened
    to the signature's type where that loses nothing, else stays as the model answered it, as online.

    Raises:
        BatchFailure: the answer has not one value, or one of each, for each row.
    """
    columns = _named(answer, rows, outputs, name)
    if not columns or any(len(values) != rows for values in columns.values()):
        raise BatchFailure(
            f"the model does not answer row by row: {_shape_of(answer)} for {rows} rows",
            hint="a model that sums over rows has no batch predictions; ask it over /invocations",
        )
    kinds = outputs.by_name if isinstance(outputs, Columns) and outputs.named else {}
    return {name: _typed(values, kinds.get(name)) for name, values in columns.items()}


def _named(answer: Any, rows: int, outputs: Inputs | None, name: str) -> dict[str, Any]:
    if isinstance(answer, pd.DataFrame):
        return {str(column): _values_of(answer[column]) for column in answer.columns}
    if isinstance(answer, pd.Series):
        return {str(answer.name) if answer.name is not None else name: _values_of(answer)}
    if isinstance(answer, Mapping):
        return {str(key): values for key, values in answer.items() if hasattr(values, "__len__")}
    if isinstance(answer, np.ndarray):
        return _of_array(answer, outputs, name) if answer.ndim else {}
    if isinstance(answer, Sequence) and not isinstance(answer, (str, bytes)):
        return _of_list(answer, rows, outputs, name)
    return {}


def _values_of(values: pd.Series) -> Any:
    plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "iufbM"
    return values.to_numpy() if plain else values.astype(object).where(values.notna(), None).tolist()


def _of_array(answer: np.ndarray[Any, Any], outputs: Inputs | None, name: str) -> dict[str, Any]:
    width = answer.shape[1] if answer.ndim == 2 else 1
    if answer.ndim > 2 or not 0 < width <= _MOST_COLUMNS:
        return {_names(1, outputs, name)[0]: answer}
    flat = answer.reshape(len(answer), width)
    return {title: flat[:, at] for at, title in enumerate(_names(width, outputs, name))}


def _of_list(answer: Sequence[Any], rows: int, outputs: Inputs | None, name: str) -> dict[str, Any]:
    # scikit-learn's lists hold one array for each output.
    if answer and all(isinstance(one, np.ndarray) and one.ndim and len(one) == rows for one in answer):
        return dict(zip(_names(len(answer), outputs, name), answer, strict=True))
    return {_names(1, outputs, name)[0]: list(answer)}


def _names(count: int, outputs: Inputs | None, name: str) -> list[str]:
    given = list(outputs.by_name) if outputs is not None and outputs.named else []
    if len(given) == count:
        return given
    return [name] if count == 1 else [f"{name}_{at}" for at in range(count)]


def _typed(values: Any, column: Column | None) -> Any:
    if column is None or not isinstance(column.type, Scalar) or not isinstance(values, np.ndarray):
        return values
    wanted = column.type.numpy
    safe = wanted.kind in "iuf" and values.dtype.kind in "iuf" and np.can_cast(values.dtype, wanted, "safe")
    return values.astype(wanted) if safe else values


def _shape_of(answer: Any) -> str:
    shape = getattr(answer, "shape", None)
    return f"{type(answer).__name__} of shape {shape}" if shape is not None else type(answer).__name__


def joined(several: Sequence[Mapping[str, Any]], order: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The columns of several answers as one, its rows in this order.

    Raises:
        BatchFailure: the answers have different columns.
    """
    names = several[0].keys()
    if any(one.keys() != names for one in several):
        raise BatchFailure("the model answers with other columns for some rows than for others")
    return {name: _joined_column([one[name] for one in several], order) for name in names}


def _joined_column(parts: Sequence[Any], order: np.ndarray[Any, Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)[order]
    if all(hasattr(part, "combine_chunks") for part in parts):
        import pyarrow as pa

        return pa.chunked_array([chunk for part in parts for chunk in part.chunks]).take(order)
    values = [value for part in parts for value in part]
    return [values[at] for at in order]
