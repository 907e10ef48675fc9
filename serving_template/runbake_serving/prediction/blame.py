"""Which row it was: errors name a column and a row's number, and never the value.

Rows count from 0 in the request, also where several requests went to the model together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from runbake_serving.model.signature import Inputs
from runbake_serving.model.tables import TableArray, TableColumns

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd


def first_bad_row(rows: int, fails: Callable[[int], bool]) -> int | None:
    """The first bad row of so many: `fails(n)` tells whether one of the first n is bad; None if none is."""
    if not fails(rows):
        return None
    good, bad = 0, rows
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if fails(middle) else (middle, bad)
    return bad - 1


def first_gap(data: Any, inputs: Inputs | None) -> tuple[str | None, int] | None:
    """Column (None where it has no name) and row of the first number that is missing or not finite."""
    if isinstance(data, TableArray):
        return _in_array(data.values, list(inputs.by_name) if inputs is not None else [])
    if isinstance(data, TableColumns):
        return _in_frame(data.frame)
    if isinstance(data, pd.DataFrame):
        return _in_frame(data)
    if isinstance(data, np.ndarray):
        return _in_array(data, [])
    return None


def _in_array(values: np.ndarray[Any, Any], names: list[str]) -> tuple[str | None, int] | None:
    if values.dtype.kind != "f" or values.ndim == 0:
        return None
    places = np.argwhere(~np.isfinite(values))
    if not len(places):
        return None
    row, column = int(places[0][0]), int(places[0][1]) if values.ndim > 1 else 0
    return (names[column] if values.ndim == 2 and column < len(names) else None), row


def _in_frame(frame: pd.DataFrame) -> tuple[str | None, int] | None:
    found: list[tuple[int, str]] = []
    for name in frame.columns:
        values = frame[name]
        gaps = values.isna().to_numpy()
        if values.dtype.kind == "f":
            gaps = gaps | ~np.isfinite(values.to_numpy())
        if gaps.any():
            found.append((int(np.argmax(gaps)), str(name)))
    if not found:
        return None
    row, name = min(found, key=lambda place: place[0])
    return name, row
