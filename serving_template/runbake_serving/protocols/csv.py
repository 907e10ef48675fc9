"""csv bodies as tables of the signature's types: every row as wide as the header, or the body is refused."""

from __future__ import annotations

import csv
import encodings
import io
from collections.abc import Iterator, Mapping
from encodings.aliases import aliases
from typing import Any

import pandas as pd

from runbake_serving.casting import cast_frame, specs_of
from runbake_serving.enforcement import REFUSALS
from runbake_serving.errors import InvalidRequest, UnsupportedMedia
from runbake_serving.signature import Columns, Inputs, Scalar, Tensors

# Python's codecs also unpack bz2 and zlib: a kilobyte became a gigabyte. Only these are looked up at all.
CHARSETS = frozenset(
    {
        *("utf_8", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"),
        *("ascii", "latin_1", *(f"iso8859_{part}" for part in (*range(2, 12), *range(13, 17)))),
        *(f"cp{page}" for page in (437, 850, 852, 866, 932, 949, 950, *range(1250, 1259))),
        *("koi8_r", "koi8_u", "gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
    }
)
"""Charsets of csv, as Python names them."""


def frame_of_csv(body: bytes, parameters: Mapping[str, str], inputs: Inputs | None) -> pd.DataFrame:
    """The table in this csv; `parameters` of its content type are `charset` and `header`.

    Raises:
        UnsupportedMedia: a parameter's value is not known.
        InvalidRequest: not a table, or its values are not of the signature's types.
    """
    text = _decoded(body, parameters.get("charset", "utf-8"))
    header = parameters.get("header", "present")
    if header not in ("present", "absent"):
        raise UnsupportedMedia("header must be present or absent")
    if header == "present":
        _check_header(text, inputs)
    names = list(specs_of(inputs)) or None
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            header=0 if header == "present" else None,
            names=names if header == "absent" else None,
            dtype=_csv_types(inputs),
        )
    except REFUSALS as error:
        raise InvalidRequest("the csv cannot be read as a table of the signature's types") from error
    _check_width(frame, text)
    return _finished(frame, inputs)


def _decoded(body: bytes, charset: str) -> str:
    name = encodings.normalize_encoding(charset).lower()
    if (name := aliases.get(name, name)) not in CHARSETS:
        raise UnsupportedMedia("the charset is not known")
    try:
        return body.decode(name).removeprefix("\ufeff")
    except ValueError as error:
        raise InvalidRequest("the body is not text in its charset") from error


def _check_header(text: str, inputs: Inputs | None) -> None:
    if isinstance(inputs, Tensors) and not inputs.named:
        # Nothing in a header could be checked, and a first row of numbers would be taken for one.
        raise InvalidRequest("the model takes an array: csv for it has no header line (header=absent)")
    names = [name for name in next(_rows(text), ()) if name]
    if len(set(names)) != len(names):
        raise InvalidRequest("two columns of the csv have one name")


def _check_width(frame: pd.DataFrame, text: str) -> None:
    # Where the first row has more fields than names, pandas makes its first fields an index.
    if len(frame) and not isinstance(frame.index, pd.RangeIndex):
        raise InvalidRequest("the rows of the csv have more fields than there are columns")
    width = len(frame.columns)
    # pandas fills short rows up, so there is one only where the last column has a gap.
    if width > 1 and frame.iloc[:, -1].hasnans and any(len(row) < width for row in _rows(text)):
        raise InvalidRequest("a row of the csv has fewer fields than there are columns")


def _rows(text: str) -> Iterator[list[str]]:
    """Fields of each line that pandas does not skip as blank."""
    try:
        for row in csv.reader(io.StringIO(text, newline=None)):
            if len(row) > 1 or (row and row[0].strip(" \t")):
                yield row
    except csv.Error as error:
        raise InvalidRequest(
            "the csv cannot be read: a field is too long, or a quote does not end"
        ) from error


def _csv_types(inputs: Inputs | None) -> dict[Any, Any] | None:
    if not isinstance(inputs, Columns):
        return None
    return {
        column.name if column.name is not None else position: column.type.pandas
        for position, column in enumerate(inputs.columns)
        if isinstance(column.type, Scalar) and column.type is not Scalar.DATETIME
    }


def _finished(frame: pd.DataFrame, inputs: Inputs | None) -> pd.DataFrame:
    """Cast what `read_csv` cannot: datetimes, and every column of a tensor."""
    if isinstance(inputs, Columns):
        moments = tuple(column for column in inputs.columns if column.type is Scalar.DATETIME)
        # Binary stays text here, as in MLflow: base64 is a rule of its JSON formats.
        return cast_frame(frame, Columns(columns=moments)) if moments and inputs.named else frame
    return cast_frame(frame, inputs)
