"""csv becomes a table with every field under its own column, or a refusal; a small body stays small."""

from __future__ import annotations

import bz2
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest

from runbake_serving.errors import InvalidRequest, SchemaMismatch, UnsupportedMedia
from runbake_serving.model.enforcement import enforced
from runbake_serving.model.signature import Column, Columns, Inputs, Scalar, Tensor, Tensors
from runbake_serving.protocols.charsets import CHARSETS
from runbake_serving.protocols.csv import frame_of_csv

AB = Columns(columns=tuple(Column(name=name, type=Scalar.DOUBLE, required=True) for name in "ab"))
TENSOR = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float64"), shape=(-1, 2)),))
ABSENT = {"header": "absent"}


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("bz2", bz2.compress(b"a" * 20_000_000)),
        ("zlib", zlib.compress(b"a" * 20_000_000)),
        ("hex", b"612c62"),
        ("rot13", b"n,o\n1,2\n"),
        ("unicode_escape", b"a,b\n1,2\n"),
        ("idna", b"a"),
        ("../x", b"a"),
    ],
)
def test_a_codec_is_not_a_charset(charset: str, body: bytes) -> None:
    """Codecs that unpack or rewrite bytes are refused before they run."""
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedMedia):
            frame_of_csv(body, {"charset": charset}, None)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "charset", [*sorted(CHARSETS), "utf-8", "UTF8", "iso-8859-1", "windows-1252", "latin1"]
)
def test_charsets(charset: str) -> None:
    """Every charset of the list, by any of its common names, gives the same table."""
    frame = frame_of_csv("a,b\n1,2\n".encode(charset), {"charset": charset}, AB)
    assert frame.to_dict("records") == [{"a": 1.0, "b": 2.0}]


@pytest.mark.parametrize("inputs", [AB, None])
@pytest.mark.parametrize(
    "rows", ["9,1,2\n", "9,9,1,2\n", "1,2\n9,1,2\n", "1,2,\n", "1\n", "1,2\n3\n", "3\n1,2\n"]
)
@pytest.mark.parametrize("header", ["a,b\n", None])
def test_rows_of_another_width(inputs: Inputs | None, rows: str, header: str | None) -> None:
    """Fields too many do not shift the others, and fields too few are not made up."""
    if inputs is None and header is None and "\n" not in rows[:-1]:
        return  # one row without names is as wide as it is
    body = ((header or "") + rows).encode()
    with pytest.raises(InvalidRequest):
        frame_of_csv(body, {} if header else ABSENT, inputs)


@pytest.mark.parametrize("text", ["a,b\n1,\n", 'a,b\r\n\r\n1,""\r\n  \n', "\ufeffa,b\r1,\r"])
def test_gaps_and_blank_lines(text: str) -> None:
    """A field that is there and empty is a gap; blank lines and a byte order mark are none of the table."""
    frame = frame_of_csv(text.encode(), {}, AB)
    assert list(frame.columns) == ["a", "b"]
    np.testing.assert_array_equal(frame.to_numpy(), [[1.0, np.nan]])


def test_two_columns_of_one_name() -> None:
    """A name that stands for two columns is refused, not answered from the first of them."""
    with pytest.raises(InvalidRequest, match="one name"):
        frame_of_csv(b"a,a,b\n1,9,2\n", {}, AB)


def test_a_tensor_has_no_header() -> None:
    """csv for an array is data from its first line on; what may be names is refused."""
    assert frame_of_csv(b"1,2\n3,4\n", {}, TENSOR).to_numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert frame_of_csv(b"1,2\n3,4\n", ABSENT, TENSOR).to_numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    for named in (b"a,b\n3,4\n", b"0,1\n3,4\n"):
        with pytest.raises(InvalidRequest, match="header=absent"):
            frame_of_csv(named, {}, TENSOR)


MIXED = Columns(
    columns=(
        Column(name="t", type=Scalar.STRING, required=True),
        Column(name="a", type=Scalar.DOUBLE, required=True),
    )
)
TEXT = Columns(columns=(Column(name="t", type=Scalar.STRING, required=True),))


@pytest.mark.parametrize(
    ("text", "inputs", "rows"),
    [
        ("1.5,2\n3,4\n", AB, [[1.5, 2.0], [3.0, 4.0]]),
        ("1,\n,4\n", AB, [[1.0, np.nan], [np.nan, 4.0]]),
        ("nan,2e3\n", AB, [[np.nan, 2000.0]]),
        ("x,1\n", MIXED, [["x", 1.0]]),
        ("a,b\n1,2\n", AB, [[1.0, 2.0]]),
        ("b,a,c\n1,2,3\n", AB, [[1.0, 2.0, 3]]),
        ("t\nx\n", TEXT, [["x"]]),
        ("x\ny\n", TEXT, [["y"]]),  # a header, and not the right one: refused when it meets the signature
    ],
)
def test_headerless(text: str, inputs: Inputs, rows: list[list[Any]]) -> None:
    """Without the parameter a first line is data only where it can be nothing else."""
    frame = frame_of_csv(text.encode(), {}, inputs)
    assert str(frame.to_numpy(dtype=object).tolist()) == str(rows)


@pytest.mark.parametrize("text", ["0,1\n3,4\n", "c,d\n1,2\n", "1,d\n1,2\n", "1,2,3\n"])
def test_what_may_be_a_header_is_not_predicted(text: str) -> None:
    """A misspelt header, names that count, and lines of another width never become a row."""
    try:
        frame = frame_of_csv(text.encode(), {}, AB)
    except InvalidRequest:
        return
    with pytest.raises(SchemaMismatch, match="missing columns"):
        enforced(frame, AB)


WHOLE = Columns(
    columns=(
        Column(name="a", type=Scalar.DOUBLE, required=True),
        Column(name="n", type=Scalar.LONG, required=True),
    )
)


@pytest.mark.parametrize(
    ("text", "inputs", "column", "row"),
    [
        ("a,b\n1,2\n3,x\n", AB, "b", 1),
        ("b,a\n1,2\n3,x\n", AB, "a", 1),
        ("a,b,c\n1,2,t\n\n3,0x10,t\n", AB, "b", 1),
        ("a,n\n1,2\n1,3\n1,4.5\n1,y\n", WHOLE, "n", 2),
        ("a,n\n1,2\n1,\n", WHOLE, "n", 1),
        ("1,2\n3,x\n", AB, "b", 1),
        ("a,b\n" + "1,2\n" * 70_000 + "1,z\n", AB, "b", 70_000),
        ("a,b\n1,2\n1,2,3\n", AB, None, 1),
        ("a,b\n1,2,3\n", AB, None, 0),
        ("a,b\n1,2\n3\n", AB, None, 1),
        ("a,n\n1,2\n3\n", WHOLE, None, 1),
        ("a,n,,\n1,2,,\n1,x,,\n", WHOLE, "n", 1),
    ],
)
def test_a_refusal_names_the_place(text: str, inputs: Inputs, column: str | None, row: int) -> None:
    """Whoever sent a bad csv is told the row, and the column where one value is at fault; never the value."""
    with pytest.raises(InvalidRequest, match=f"row {row}") as refused:
        frame_of_csv(text.encode(), {}, inputs)
    assert (refused.value.column, refused.value.row) == (column, row)
    assert not {"x", "y", "z", "4.5", "0x10"} & set(str(refused.value).replace("'", " ").split())


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_csv_is_called_empty(text: str) -> None:
    """A body without a line is told as that."""
    with pytest.raises(InvalidRequest, match="empty"):
        frame_of_csv(text.encode(), {}, AB)


def test_a_late_fault_is_found_in_bounded_memory() -> None:
    """Looking for a bad value takes no more room than reading the table did."""
    body = b"a,b\n" + b"1.25,2.25\n" * 400_000 + b"1,x\n"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="row 400000"):
            frame_of_csv(body, {}, AB)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_wide_csv_is_bounded() -> None:
    """A csv of very many columns that the model does not take is refused or read in no time."""
    names, fields = ",".join(f"c{number}" for number in range(9000)), ",".join(["7"] * 9000)
    frame = frame_of_csv(f"a,{names},b\n1,{fields},2\n".encode(), {}, AB)
    assert frame.to_dict("records") == [{"a": 1.0, "b": 2.0}]
    with pytest.raises(InvalidRequest, match="different numbers"):
        frame_of_csv(f"a,{names},b\n1,{fields},2,3\n".encode(), {}, AB)
    with pytest.raises(InvalidRequest, match="too many columns"):
        frame_of_csv(f"{names},{names}\n".encode(), {}, AB)
