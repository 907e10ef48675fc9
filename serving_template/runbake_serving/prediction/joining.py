"""Rows of several requests as one table, and one answer as an answer to each of them.

Two requests may be joined where their data are of one kind with the same columns and types, and their params
are equal: then the model sees each row as it would have seen it alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runbake_serving.model.tables import TableArray, TableColumns

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd


def rows_of(data: Any) -> int:
    """How many rows the data have; 1 where that is not told by their kind."""
    if isinstance(data, (TableArray, TableColumns)):
        return data.rows
    if isinstance(data, np.ndarray):
        return len(data) if data.ndim else 1
    if isinstance(data, dict):
        return max((rows_of(value) for value in data.values()), default=1)
    return len(data) if hasattr(data, "__len__") and not isinstance(data, str) else 1


def key_of(data: Any, params: Mapping[str, Any]) -> Hashable | None:
    """What two requests must have in common to be joined; None where these data are joined with none."""
    kind = _kind_of(data)
    if kind is None:
        return None
    return (kind, repr(sorted(params.items()))) if params else kind


def _kind_of(data: Any) -> Hashable | None:
    if isinstance(data, (TableArray, TableColumns)):
        return data.kind if data.rows else None
    if isinstance(data, np.ndarray):
        return _array_kind(data)
    if isinstance(data, dict):
        return _dict_kind(data)
    if isinstance(data, pd.DataFrame):
        return _frame_kind(data)
    return None


def _array_kind(array: np.ndarray[Any, Any]) -> Hashable | None:
    # What is in an array of objects is told by each value only.
    if array.ndim == 0 or not len(array) or array.dtype.hasobject:
        return None
    return (array.dtype.str, array.shape[1:])


def _dict_kind(arrays: Mapping[str, Any]) -> Hashable | None:
    kinds = tuple(
        (name, _array_kind(value) if isinstance(value, np.ndarray) else None)
        for name, value in arrays.items()
    )
    lengths = {rows_of(value) for value in arrays.values()}
    return kinds if len(lengths) == 1 and all(kind is not None for _, kind in kinds) else None


def _frame_kind(frame: pd.DataFrame) -> Hashable | None:
    if not len(frame) or not frame.columns.is_unique:
        return None
    return (tuple(frame.columns), tuple(map(str, frame.dtypes)))


def joined(several: Sequence[Any]) -> Any:
    """The rows of all of these as one, in order; all have the same key."""
    first = several[0]
    if isinstance(first, TableArray):
        return TableArray(np.concatenate([one.values for one in several]))
    if isinstance(first, TableColumns):
        return TableColumns.joined(several)
    if isinstance(first, np.ndarray):
        return np.concatenate(several)
    if isinstance(first, dict):
        return {name: np.concatenate([one[name] for one in several]) for name in first}
    return pd.concat(several, ignore_index=True)


def split(answer: Any, rows: Sequence[int]) -> list[Any] | None:
    """The answer's part for each of the joined; None where it has not one row for each row.

    A list is never split: scikit-learn's lists hold one array for each output, not one for each row.
    """
    if isinstance(answer, np.ndarray):
        if answer.ndim == 0 or len(answer) != sum(rows):
            return None
        return _parts(answer, rows)
    if not isinstance(answer, (pd.DataFrame, pd.Series)) or len(answer) != sum(rows):
        return None
    return [part.reset_index(drop=True) for part in _parts(answer.iloc, rows)]


def _parts(sliceable: Any, rows: Sequence[int]) -> list[Any]:
    parts, start = [], 0
    for count in rows:
        parts.append(sliceable[start : start + count])
        start += count
    return parts
