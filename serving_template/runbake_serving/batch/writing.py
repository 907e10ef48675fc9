"""A part's rows as a file: Parquet, csv or JSON Lines; the same rows give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import orjson

from runbake_serving.batch.failures import BatchFailure
from runbake_serving.batch.local import told
from runbake_serving.protocols.encoding import json_value

_NATIVE = frozenset(np.dtype(name) for name in ("float64", "float32", "int64", "int32", "bool"))


class Writer(AbstractContextManager["Writer"], Protocol):
    """Writes batches of one part; leaving it closes and syncs the file."""

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append these rows."""
        ...

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types of the columns written."""
        ...


def writer_of(format_: str, path: Path) -> Writer:
    """A writer of a new file in this format."""
    kinds: Mapping[str, Callable[[Path], Writer]] = {
        "parquet": ParquetFile,
        "csv": CsvFile,
        "jsonl": LinesFile,
    }
    return kinds[format_](path)


class _File:
    """An open file that is synced when it is left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with told(path, "written"):
            self._file: BinaryIO = path.open("wb")
        self._columns: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types of the columns written."""
        return self._columns

    def __enter__(self) -> Self:
        """Ready to write."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; sync what is whole."""
        with told(self._path, "written"):
            try:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            finally:
                self._file.close()

    def _check(self, columns: Mapping[str, Any]) -> None:
        names = tuple(columns)
        if self._columns and tuple(name for name, _ in self._columns) != names:
            raise BatchFailure("the model answers with other columns for some rows than for others")
        if not self._columns:
            self._columns = tuple((name, kind_of(values)) for name, values in columns.items())


class ParquetFile(_File):
    """Parquet; each batch is a row group."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._writer: Any = None

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append these rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pa.table({name: _arrow_of(values) for name, values in columns.items()})
            if self._writer is None:
                schema = pa.schema([_settled(field) for field in table.schema])
                self._columns = tuple((field.name, str(field.type)) for field in schema)
                self._writer = pq.ParquetWriter(self._file, schema)
            table = table if table.schema == self._writer.schema else table.cast(self._writer.schema)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise BatchFailure(
                "the rows do not fit one table: a column's type changes or is not Parquet's",
                hint="--output-format jsonl takes any values",
            ) from error
        with told(self._path, "written"):
            self._writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the footer, then close."""
        if self._writer is not None and kind is None:
            with told(self._path, "written"):
                self._writer.close()
        elif self._writer is not None:
            # pyarrow would write the footer when it is collected, into a closed file.
            with suppress(OSError, ValueError):
                self._writer.close()
        super().__exit__(kind, error, trace)


def _arrow_of(values: Any) -> Any:
    import pyarrow as pa

    from runbake_serving.protocols.columnar import column_of

    if isinstance(values, (pa.ChunkedArray, pa.Array)):
        return values
    if isinstance(values, np.ndarray):
        return column_of(values.astype(object) if values.dtype.kind in "US" else values)
    return pa.array(values)


def _settled(field: Any) -> Any:
    """A column of nothing but gaps is one of texts: later ones may be."""
    import pyarrow as pa

    return field.with_type(pa.string()) if pa.types.is_null(field.type) else field


class CsvFile(_File):
    """csv with a header line; a gap is an empty field, a list is JSON."""

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append these rows."""
        first = not self._columns
        self._check(columns)
        fields = [[_field(text) for text in texts_of(values)] for values in columns.values()]
        if len(fields) == 1:  # a line without anything would be no row
            fields = [[text or b'""' for text in fields[0]]]
        with told(self._path, "written"):
            if first:
                self._file.write(b",".join(_field(orjson.dumps(name)) for name in columns) + b"\n")
            self._file.writelines(_lines(b",".join(row) for row in zip(*fields, strict=True)))


class LinesFile(_File):
    """JSON Lines: an object for each row."""

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append these rows."""
        self._check(columns)
        names = [orjson.dumps(name) + b":" for name in columns]
        fields = [texts_of(values) for values in columns.values()]
        with told(self._path, "written"):
            self._file.writelines(
                _lines(
                    b"{" + b",".join(map(bytes.__add__, names, row)) + b"}"
                    for row in zip(*fields, strict=True)
                )
            )


def _lines(rows: Iterable[bytes]) -> Iterable[bytes]:
    yield from (row + b"\n" for row in rows)


def texts_of(values: Any) -> Sequence[bytes]:
    """Each value as JSON."""
    if hasattr(values, "to_pylist"):
        values = values.to_pylist()
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype in _NATIVE:
        if not len(values):
            return []
        # All in one call, which writes thirty times as fast as a call for each.
        text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        return text[1:-1].split(b",")
    return [orjson.dumps(value, default=json_value, option=orjson.OPT_SERIALIZE_NUMPY) for value in values]


def _field(text: bytes) -> bytes:
    """A csv field of a JSON text: texts bare where they can be, gaps empty."""
    if text == b"null":
        return b""
    if text[:1] == b'"':
        text = str(orjson.loads(text)).encode()
    if text and not any(character in text for character in (b",", b'"', b"\r", b"\n")):
        return text
    return b'"' + text.replace(b'"', b'""') + b'"'


def kind_of(values: Any) -> str:
    """What a column of csv or JSON Lines holds, for the record."""
    if isinstance(values, np.ndarray):
        return str(values.dtype) if values.ndim == 1 else f"list of {values.dtype}"
    return str(values.type) if hasattr(values, "type") else "text"
