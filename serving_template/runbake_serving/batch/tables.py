"""Parquet and Arrow files: what they have, and parts of them as batches. Imports pyarrow when called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from runbake_serving.batch.batches import TableBatch, Wanted
from runbake_serving.batch.failures import BatchFailure
from runbake_serving.batch.plan import InputFile, Part, Piece
from runbake_serving.batch.spec import EVERY_COLUMN

_BUFFER_BYTES = 1 << 20
"""A column of a row group is read in such steps: 30 columns of a million rows would else be 240 MB."""


class TableFacts(NamedTuple):
    """What a file of a table says of itself."""

    pieces: tuple[Piece, ...]
    columns: Mapping[str, str]


@contextmanager
def readable(uri: str, kind: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into what the operator can act on.

    Raises:
        BatchFailure: the file is damaged.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BatchFailure(
            f"{uri} cannot be read as {kind}: {str(error)[:200]}",
            hint="the file is damaged, cut off, or of another format",
        ) from error


def source_of(opened: BinaryIO) -> Any:
    """The file for pyarrow: a local one by its path, which it reads without Python."""
    import pyarrow as pa

    name = getattr(opened, "name", None)
    return pa.OSFile(name) if isinstance(name, str) else pa.PythonFile(opened, mode="r")


def look_at_parquet(opened: BinaryIO, uri: str) -> TableFacts:
    """Row groups and columns of a Parquet file.

    Raises:
        BatchFailure: it is none, or damaged.
    """
    import pyarrow.parquet as pq

    with readable(uri, "Parquet"), pq.ParquetFile(source_of(opened), pre_buffer=False) as file:
        counts = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
        return TableFacts(pieces=_pieces(counts), columns=_types(file.schema_arrow))


def look_at_arrow(opened: BinaryIO, uri: str) -> TableFacts:
    """Record batches and columns of an Arrow IPC file (Feather 2).

    Raises:
        BatchFailure: it is none, or damaged.
    """
    import pyarrow as pa

    with readable(uri, "an Arrow file"):
        # The rows of a batch are told by any one of its columns.
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=[0])
        reader = pa.ipc.open_file(source_of(opened), options=options)
        counts = [reader.get_batch(at).num_rows for at in range(reader.num_record_batches)]
        full = pa.ipc.open_file(source_of(opened)).schema
        return TableFacts(pieces=_pieces(counts), columns=_types(full))


def _pieces(counts: list[int]) -> tuple[Piece, ...]:
    pieces, first = [], 0
    for at, rows in enumerate(counts):
        pieces.append(Piece(begin=at, end=at + 1, first_row=first, rows=rows))
        first += rows
    return tuple(pieces)


def _types(schema: Any) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def table_batches(
    opened: BinaryIO, file: InputFile, part: Part, rows: int, wanted: Wanted, partition: Mapping[str, Any]
) -> Iterator[TableBatch]:
    """The rows of one part, in batches of at most so many.

    Raises:
        BatchFailure: the file is damaged, or has a column of a type that is not read.
    """
    first = part.first_row
    read = _parquet if file.format == "parquet" else _arrow
    kind = "Parquet" if file.format == "parquet" else "an Arrow file"
    tables = iter(read(opened, part, rows, wanted))
    while True:
        with readable(f"{file.uri}, row {first}", kind):
            table = next(tables, None)
        if table is None:
            return
        yield TableBatch(wanted=wanted, table=_with(table, partition), first_row=first)
        first += table.num_rows


def _parquet(opened: BinaryIO, part: Part, rows: int, wanted: Wanted) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source_of(opened), pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        columns = columns_read(file.schema_arrow.names, wanted)
        batches = file.iter_batches(
            batch_size=rows, row_groups=list(range(part.begin, part.end)), columns=columns, use_threads=False
        )
        for batch in batches:
            yield _plain(pa.Table.from_batches([batch]))


def _arrow(opened: BinaryIO, part: Part, rows: int, wanted: Wanted) -> Iterator[Any]:
    import pyarrow as pa

    source = source_of(opened)
    names = pa.ipc.open_file(source).schema.names
    wanted_fields = [names.index(name) for name in columns_read(names, wanted)]
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=wanted_fields)
    reader = pa.ipc.open_file(source, options=options)
    for at in range(part.begin, part.end):
        batch = reader.get_batch(at)
        for begin in range(0, batch.num_rows, rows):
            yield _plain(pa.Table.from_batches([batch.slice(begin, rows)]))


def columns_read(given: list[str], wanted: Wanted) -> list[str]:
    """The columns of a file that are read; all where the model does not say."""
    if EVERY_COLUMN in wanted.keep or (not wanted.names and not wanted.select):
        return given
    needed = {*map(wanted.source_of, wanted.names), *wanted.select, *wanted.keep}
    return [name for name in given if name in needed]


def _plain(table: Any) -> Any:
    """The table without dictionaries: the model knows none."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(field.type.value_type))
    return table


def _with(table: Any, partition: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    for name, value in partition.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return table
