"""csv bodies as tables of the signature's types: every row as wide as the header, or the body is refused.

Header line. `header=present` and `header=absent` of the content type decide. Without the parameter there is
one, as in MLflow, unless the first line can only be data: it has as many fields as the signature has inputs,
none of them is one of its names, where the signature has numbers (at least once) there are numbers or gaps,
and they do not merely count (0,1,2,…: pandas' names for columns without names, refused as ambiguous). So
SageMaker's batch transform, which sends lines of a file, is understood, and a misspelt header is never
predicted. A table of texts alone, or of columns without names, needs `header=absent`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pandas as pd

from runbake_serving.errors import InvalidRequest, UnsupportedMedia
from runbake_serving.model.casting import cast_frame, specs_of
from runbake_serving.model.enforcement import REFUSALS
from runbake_serving.model.signature import Columns, Inputs, Scalar, Tensors
from runbake_serving.protocols.charsets import decoded
from runbake_serving.protocols.csv_faults import refusal_of_csv

MOST_COLUMNS = 10_000
"""Columns of a table beside those of the signature."""
_MANY_OTHERS = 500
"""So many columns that the model does not take are not even converted."""
_NUMBERS = (Scalar.INTEGER, Scalar.LONG, Scalar.FLOAT, Scalar.DOUBLE)
_NUMBER_OR_GAP = re.compile(
    r"\s*([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf|nan|na|null|)\s*", re.IGNORECASE
)


def frame_of_csv(
    body: bytes, parameters: Mapping[str, str], inputs: Inputs | None, *, delimiter: str = ","
) -> pd.DataFrame:
    """The table in this csv; `parameters` of its content type are `charset` and `header`.

    Raises:
        UnsupportedMedia: a parameter's value is not known.
        InvalidRequest: not a table, or its values are not of the signature's types.
    """
    if parameters.get("header", "present") not in ("present", "absent"):
        raise UnsupportedMedia("header must be present or absent")
    text = decoded(body, parameters.get("charset", "utf-8"))
    first = next(rows_of_csv(text, delimiter), [])
    if len(first) > MOST_COLUMNS + len(specs_of(inputs)):
        raise InvalidRequest("the csv has too many columns")
    headed = is_headed(first, parameters.get("header"), inputs)
    if headed:
        _check_header(first, inputs)
    frame = _frame(text, first, inputs, headed=headed, delimiter=delimiter)
    _check_width(frame, text, delimiter, headed=headed)
    return _finished(frame, inputs)


def _frame(
    text: str, first: Sequence[str], inputs: Inputs | None, *, headed: bool, delimiter: str
) -> pd.DataFrame:
    names, options = list(specs_of(inputs)), dict[str, Any]()
    if not headed:
        options = {"header": None, "names": names or None}
    elif names and len(first) > len(names) + _MANY_OTHERS:
        if any(len(row) != len(first) for row in rows_of_csv(text, delimiter)):
            raise InvalidRequest("the rows of the csv have different numbers of fields")
        options = {"usecols": [name for name in first if name in specs_of(inputs)]}
    types = _csv_types(inputs, first, headed=headed)
    try:
        frame: pd.DataFrame = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=types, **options)
    except REFUSALS as error:
        rows = islice(rows_of_csv(text, delimiter), 1 if headed else 0, None)
        columns = first if headed or not first else names or range(len(first))
        raise refusal_of_csv(rows, columns, types, inputs) from error
    return frame


# --- the header line -----------------------------------------------------------------------------------


def is_headed(first: Sequence[str], parameter: str | None, inputs: Inputs | None) -> bool:
    """Whether this first row names the columns; `parameter` is that of the content type.

    Raises:
        InvalidRequest: it may be names or data.
    """
    if parameter is not None:
        return parameter == "present"
    if not _can_only_be_data(first, inputs):
        return True
    if len(first) == len([None for at, name in enumerate(first) if name.strip() == str(at)]):
        raise InvalidRequest("the csv's first line may be names or data: say header=present or header=absent")
    return False


def _can_only_be_data(first: Sequence[str], inputs: Inputs | None) -> bool:
    if isinstance(inputs, Tensors):
        if inputs.named or inputs.tensors[0].dtype.kind not in "iuf":
            return False
        numbers = set(range(len(first)))
    elif inputs is not None and inputs.named and len(first) == len(inputs.columns):
        numbers = {at for at, column in enumerate(inputs.columns) if column.type in _NUMBERS}
        if not numbers or not inputs.by_name.keys().isdisjoint(first):
            return False
    else:
        return False
    return (
        bool(first)
        and all(_NUMBER_OR_GAP.fullmatch(first[at]) for at in numbers)
        and any(first[at].strip() for at in numbers)
    )


def _check_header(first: Sequence[str], inputs: Inputs | None) -> None:
    if isinstance(inputs, Tensors) and not inputs.named:
        # Nothing in a header could be checked.
        raise InvalidRequest("the model takes an array: csv for it has no header line (header=absent)")
    names = [name for name in first if name]
    if len(set(names)) != len(names):
        raise InvalidRequest("two columns of the csv have one name")


# --- rows ----------------------------------------------------------------------------------------------


def _check_width(frame: pd.DataFrame, text: str, delimiter: str, *, headed: bool) -> None:
    # Where the first row has more fields than names, pandas makes its first fields an index.
    if len(frame) and not isinstance(frame.index, pd.RangeIndex):
        raise InvalidRequest("the csv has more fields than columns in row 0", row=0)
    width = len(frame.columns)
    # pandas fills short rows up, so there is one only where the last column has a gap.
    gaps = width > 1 and frame.iloc[:, -1].hasnans
    if gaps:
        rows = enumerate(rows_of_csv(text, delimiter), start=-1 if headed else 0)
        if (short := next((at for at, row in rows if len(row) < width), None)) is not None:
            raise InvalidRequest(f"the csv has fewer fields than columns in row {short}", row=short)


def rows_of_csv(text: str, delimiter: str = ",") -> Iterator[list[str]]:
    """Fields of each line that pandas does not skip as blank.

    Raises:
        InvalidRequest: a field is too long, or a quote does not end.
    """
    try:
        for row in csv.reader(io.StringIO(text, newline=None), delimiter=delimiter):
            if len(row) > 1 or (row and row[0].strip(" \t")):
                yield row
    except csv.Error as error:
        raise InvalidRequest(
            "the csv cannot be read: a field is too long, or a quote does not end"
        ) from error


def _csv_types(inputs: Inputs | None, first: Sequence[str], *, headed: bool) -> Any:
    if not isinstance(inputs, Columns):
        return None
    types = {
        column.name if column.name is not None else position: column.type.pandas
        for position, column in enumerate(inputs.columns)
        if isinstance(column.type, Scalar) and column.type is not Scalar.DATETIME
    }
    if len(types) > 1 and len(types) == len(inputs.columns) and (not headed or types.keys() >= set(first)):
        distinct = set(types.values())
        # One type for all takes pandas a fifth of the time that a type for each does.
        return distinct.pop() if len(distinct) == 1 else types
    return types


def _finished(frame: pd.DataFrame, inputs: Inputs | None) -> pd.DataFrame:
    """Cast what `read_csv` cannot: datetimes, and every column of a tensor."""
    if isinstance(inputs, Columns):
        moments = tuple(column for column in inputs.columns if column.type is Scalar.DATETIME)
        # Binary stays text here, as in MLflow: base64 is a rule of its JSON formats.
        return cast_frame(frame, Columns(columns=moments)) if moments and inputs.named else frame
    return cast_frame(frame, inputs)
