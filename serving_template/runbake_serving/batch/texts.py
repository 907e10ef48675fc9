"""Parts of csv and JSON Lines files as batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from runbake_serving.batch.batches import Batch, CsvBatch, LinesBatch, Wanted
from runbake_serving.batch.failures import BatchFailure
from runbake_serving.batch.formats import compression_of, unpacked
from runbake_serving.batch.lines import blocks_of
from runbake_serving.batch.plan import InputFile, Part
from runbake_serving.errors import RequestError
from runbake_serving.protocols.charsets import decoded
from runbake_serving.protocols.csv import is_headed, rows_of_csv

_MARK = b"\xef\xbb\xbf"
_SKIP_BYTES = 1 << 20


def header_of(stream: BinaryIO, uri: str, wanted: Wanted) -> tuple[tuple[str, ...], int, int]:
    """The columns of a csv file, none where they have no names; bytes and lines before its first row.

    Raises:
        BatchFailure: the first line may be names or data, or is not text.
    """
    first = next(iter(blocks_of(stream, rows=1, delimiter=wanted.csv.delimiter)), None)
    if first is None:
        return (), 0, 0
    mark = len(_MARK) if first.data.startswith(_MARK) else 0
    said = {None: None, True: "present", False: "absent"}[wanted.csv.header]
    if first.fault and not first.data and said != "absent":
        raise BatchFailure(
            f"{uri}, line 1: {first.fault}", hint="is it csv, with line ends? --csv-header absent rejects it"
        )
    try:
        text = decoded(first.data, wanted.csv.encoding)
        row = next(iter(rows_of_csv(text, wanted.csv.delimiter)), [])
        headed = is_headed(row, said, wanted.model.inputs)
    except RequestError as error:
        raise BatchFailure(
            f"{uri}, line 1: {error}", hint="--csv-header present or absent, --csv-encoding, --csv-delimiter"
        ) from error
    if not row and first.data.strip():
        raise BatchFailure(f"{uri}, line 1: {first.fault or 'no csv'}")
    if not headed:
        return (), mark, 0
    if len(set(row)) != len(row):
        twice = next(name for name in row if row.count(name) > 1)
        raise BatchFailure(f"{uri} has two columns called {twice!r}", hint="rename one of them")
    return tuple(row), len(first.data), first.lines


def text_batches(
    opened: BinaryIO, file: InputFile, part: Part, rows: int, wanted: Wanted, partition: Mapping[str, Any]
) -> Iterator[Batch]:
    """The rows of one part, in batches of at most so many lines.

    Raises:
        BatchFailure: the file is damaged.
    """
    is_csv = file.format == "csv"
    with unpacked(opened, file.uri) as stream:
        header = header_of(stream, file.uri, wanted)[0] if is_csv else ()
    opened.seek(0)
    with unpacked(opened, file.uri) as stream:
        _skip(stream, part.begin, seekable=not compression_of(file.uri))
        size_bytes = -1 if part.end < 0 else part.end - part.begin
        delimiter = wanted.csv.delimiter if is_csv else ""
        line = part.first_row + 1
        for block in blocks_of(stream, rows=rows, size_bytes=size_bytes, delimiter=delimiter):
            if is_csv:
                yield CsvBatch(
                    wanted=wanted, block=block, first_line=line, partition=partition, header=header
                )
            else:
                yield LinesBatch(wanted=wanted, block=block, first_line=line, partition=partition)
            line += block.lines


def _skip(stream: BinaryIO, size_bytes: int, *, seekable: bool) -> None:
    if seekable:
        stream.seek(size_bytes)
        return
    while size_bytes > 0:
        size_bytes -= len(stream.read(min(size_bytes, _SKIP_BYTES))) or size_bytes
