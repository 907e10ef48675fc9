"""Tables that were read without a DataFrame: rows checked as they come, columns made once for a whole call.

What comes out equals what the long way through a DataFrame (`casting`, then `enforcement`) makes of the same
rows. Rows that only the long way can judge are given up here: None, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from runbake_serving.model.signature import Column, Columns, Scalar

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd


@dataclass(frozen=True, slots=True)
class TableArray:
    """A table in the model's one dtype, columns in the signature's order: shape (n_rows, n_columns)."""

    values: np.ndarray[Any, Any]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.values)

    @property
    def kind(self) -> Hashable:
        """What tables have in common that can be joined."""
        return ("table", self.values.dtype.str, self.values.shape[1])


@dataclass(frozen=True, slots=True)
class TableColumns:
    """A table as its columns in the signature's order: an array of the column's type, or a list of texts."""

    columns: Mapping[str, Any]
    rows: int

    @property
    def kind(self) -> Hashable:
        """What tables have in common that can be joined: all columns of the signature are there."""
        return "columns"

    @property
    def frame(self) -> pd.DataFrame:
        """The DataFrame of these columns."""
        return pd.DataFrame(self.columns)

    @staticmethod
    def joined(several: Sequence[TableColumns]) -> TableColumns:
        """The rows of all of these, in order."""
        columns = {
            name: list(chain.from_iterable(one.columns[name] for one in several))
            if isinstance(first, list)
            else np.concatenate([one.columns[name] for one in several])
            for name, first in several[0].columns.items()
        }
        return TableColumns(columns, sum(one.rows for one in several))


Table = TableArray | TableColumns

# Which of JSON's values each type takes as they are. True is a kind of int: types are compared, not classes.
_PLAIN: Mapping[Scalar, frozenset[type]] = {
    Scalar.DOUBLE: frozenset({float, int, type(None)}),
    Scalar.FLOAT: frozenset({float}),
    Scalar.LONG: frozenset({int}),
    Scalar.INTEGER: frozenset({int}),
    Scalar.BOOLEAN: frozenset({bool}),
    Scalar.STRING: frozenset({str}),
}
_WHOLE = frozenset({int, bool})
_UNREADABLE = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
_INT32 = np.iinfo(np.int32)


def reader_of(inputs: Any, array_dtype: str | None) -> Callable[[str, Any], Table | None]:
    """A function from a form of MLflow's protocol and its value to a table; None sends it the long way.

    `array_dtype` is the flavor's rule. Forms: `dataframe_split` and `dataframe_records`.
    """
    if not isinstance(inputs, Columns) or not inputs.named:
        return the_long_way
    names = list(inputs.by_name)
    readable = all(column.required and column.type in _PLAIN for column in inputs.columns)
    if not names or not readable or len(names) != len(inputs.columns):
        return the_long_way
    dtype = np.dtype(array_dtype) if array_dtype is not None else None

    def read(form: str, value: Any) -> Table | None:
        rows = _rows(form, value, names)
        if not rows:
            return None
        try:
            # Beyond a float's range is infinite, as in MLflow.
            with np.errstate(over="ignore", invalid="raise"):
                return _array(rows, names, dtype) if dtype is not None else _columns(rows, inputs.columns)
        except _UNREADABLE:
            return None

    return read


def the_long_way(_: str, __: Any) -> Table | None:
    """No table is read here: each goes through a DataFrame."""
    return None


# --- rows ----------------------------------------------------------------------------------------------


def _rows(form: str, value: Any, names: list[str]) -> Any:
    """Rows as lists in the order of `names`."""
    if form == "dataframe_split":
        return _split_rows(value, names)
    if form != "dataframe_records" or not isinstance(value, list):
        return None
    try:
        return [[row[name] for name in names] for row in value]
    except (KeyError, TypeError, IndexError):
        return None


def _split_rows(value: Any, names: list[str]) -> Any:
    if not isinstance(value, dict) or not value.keys() <= {"data", "columns", "index"}:
        return None
    rows, columns, index = value.get("data"), value.get("columns"), value.get("index")
    # What pandas writes when nobody chose an index; another one is for the model to see.
    if not isinstance(rows, list) or (index is not None and index != list(range(len(rows)))):
        return None
    if columns == names:
        return rows
    return _picked(rows, columns, names) if isinstance(columns, list) else None


def _picked(rows: list[Any], columns: list[Any], names: list[str]) -> Any:
    """The rows in the order of `names`, without columns that the signature does not know."""
    try:
        places = {name: place for place, name in enumerate(columns)}
        order = [places[name] for name in names]
    except (KeyError, TypeError):
        return None
    if len(places) != len(columns) or any(type(row) is not list or len(row) != len(columns) for row in rows):
        return None
    return [[row[place] for place in order] for row in rows]


# --- one array -----------------------------------------------------------------------------------------


def _array(rows: Any, names: list[str], dtype: np.dtype[Any]) -> TableArray | None:
    values = _floats(rows, dtype) if dtype.kind == "f" else _whole_numbers(rows, dtype)
    fits = values is not None and values.ndim == 2 and values.shape[1] == len(names)
    return TableArray(values) if values is not None and fits else None


def _floats(rows: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    return np.array(rows, dtype=dtype)


def _whole_numbers(rows: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    # Among text every number would take the room of the longest.
    if not _WHOLE.issuperset(map(type, chain.from_iterable(rows))):
        return None
    # Asked for whole numbers, numpy would cut fractions off and wrap large ones around.
    values = np.array(rows)
    return values.astype(dtype) if values.dtype.kind == "i" and dtype.itemsize == 8 else None


# --- columns -------------------------------------------------------------------------------------------


def _columns(rows: Any, columns: Sequence[Column]) -> TableColumns | None:
    if any(type(row) is not list or len(row) != len(columns) for row in rows):
        return None
    read = {}
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        kind = column.type
        if not isinstance(kind, Scalar) or not _PLAIN[kind].issuperset(map(type, values)):
            return None
        read[str(column.name)] = _column(values, kind)
    return TableColumns(read, len(rows))


def _column(values: Sequence[Any], kind: Scalar) -> Any:
    if kind is Scalar.STRING:
        return list(values)  # pandas decides how it holds text
    if kind is not Scalar.INTEGER:
        return np.array(values, dtype=kind.numpy)
    if min(values) < _INT32.min or max(values) > _INT32.max:
        raise OverflowError
    return np.array(values, dtype=kind.numpy)
