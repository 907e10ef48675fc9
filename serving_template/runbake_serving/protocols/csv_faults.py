"""Where a csv body cannot be read: row and column, looked for once pandas has refused the whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pandas as pd

from runbake_serving.errors import InvalidRequest
from runbake_serving.model.enforcement import REFUSALS
from runbake_serving.model.signature import Columns, Inputs, Scalar
from runbake_serving.prediction.blame import first_bad_row

_FIELDS_AT_A_TIME = 100_000
"""A body's fields as Python's texts take thirty times its room: so many of them are held."""


def refusal_of_csv(
    rows: Iterator[list[str]], names: Sequence[Any], types: Any, inputs: Inputs | None
) -> InvalidRequest:
    """What is wrong with the first bad one of these rows, which follow the header line.

    `names` are the columns', `types` what `read_csv` was given. Rows count from 0, as answers do.
    """
    if not names:
        return InvalidRequest("the csv is empty")
    done = 0
    while block := list(islice(rows, max(1, _FIELDS_AT_A_TIME // len(names)))):
        if (row := first_of_another_width(block, len(names))) is not None:
            what = "more" if len(block[row]) > len(names) else "fewer"
            at = done + row
            return InvalidRequest(f"the csv has {what} fields than columns in row {at}", row=at)
        if (row := _first_unreadable(block, names, types)) is not None:
            return _unreadable(block[row], done + row, names, types, inputs)
        done += len(block)
    return InvalidRequest("the csv cannot be read as a table of the signature's types")


def first_of_another_width(rows: Iterable[Sequence[str]], width: int) -> int | None:
    """The first row that has not so many fields; None where all have."""
    return next((at for at, row in enumerate(rows) if len(row) != width), None)


def _unreadable(
    row: list[str], at: int, names: Sequence[Any], types: Any, inputs: Inputs | None
) -> InvalidRequest:
    # The first columns of a row stand for the first rows of a table.
    place = first_bad_row(len(row), lambda count: not _is_readable([row[:count]], names[:count], types))
    name = names[place] if place is not None else None
    column = inputs.by_name.get(str(name)) if isinstance(inputs, Columns) and inputs.named else None
    if column is None or not isinstance(column.type, Scalar):
        return InvalidRequest(f"the csv is not of the signature's types in row {at}", row=at)
    kind = column.type.value
    return InvalidRequest(f"column {name!r} cannot be read as {kind} in row {at}", column=str(name), row=at)


def _first_unreadable(rows: list[list[str]], names: Sequence[Any], types: Any) -> int | None:
    return first_bad_row(len(rows), lambda count: not _is_readable(rows[:count], names, types))


def _is_readable(rows: list[list[str]], names: Sequence[Any], types: Any) -> bool:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    text.seek(0)
    # By position: names that are empty may stand for several columns.
    chosen = types
    if isinstance(types, Mapping):
        chosen = {at: types[name] for at, name in enumerate(names) if name in types}
    try:
        pd.read_csv(text, header=None, names=range(len(names)), dtype=chosen)
    except REFUSALS:
        return False
    return True
