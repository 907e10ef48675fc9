"""Rows as a batch reads them: what the model is asked, what is kept, and where each row was.

The way from values to the model is the server's own: `protocols` reads csv, JSON Lines and Arrow tables,
`enforcement` checks them. A batch may be asked as a whole, or some of its rows by their numbers.
"""

from __future__ import annotations

import csv as csv_module
import io
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import orjson

from runbake_serving.batch.lines import Block, records_of
from runbake_serving.batch.spec import EVERY_COLUMN, Csv
from runbake_serving.errors import InvalidRequest
from runbake_serving.model.casting import specs_of
from runbake_serving.model.model import Model, Question
from runbake_serving.protocols.charsets import decoded
from runbake_serving.protocols.csv import frame_of_csv, rows_of_csv
from runbake_serving.protocols.json_forms import question_of_form
from runbake_serving.protocols.json_lines import form_of_lines

Rows = Sequence[int] | None
"""Numbers of rows of a batch, from 0, rising; None for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is read of every file.

    Attributes:
        renamed: the model's column and the input's, where they differ.
        select: the input's columns for a model without names; empty takes all.
        keep: the input's columns that go to the output, in order.
    """

    model: Model
    params: Mapping[str, Any]
    renamed: Mapping[str, str]
    select: tuple[str, ...]
    keep: tuple[str, ...]
    csv: Csv

    @property
    def names(self) -> tuple[str, ...]:
        """The model's columns; empty where it has no names for them."""
        return tuple(specs_of(self.model.inputs))

    def kept_of(self, given: Iterable[str]) -> tuple[str, ...]:
        """The kept columns of an input that has these."""
        return tuple(given) if EVERY_COLUMN in self.keep else self.keep

    def source_of(self, name: str) -> str:
        """The input's name of a column of the model."""
        return self.renamed.get(name, name)


class Batch(Protocol):
    """Rows that are predicted together."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        ...

    @property
    def fault(self) -> str:
        """Why its one row cannot be read; empty for all others."""
        ...

    def question(self, rows: Rows) -> Question:
        """What the model is asked of these rows.

        Raises:
            RequestError: they cannot be read.
        """
        ...

    def kept(self, rows: Rows) -> dict[str, Any]:
        """The kept columns of these rows: Arrow arrays, or lists."""
        ...

    def file_row(self, row: int) -> int:
        """Where a row was in its file."""
        ...


# --- tables --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TableBatch:
    """Rows of a Parquet or Arrow file; `table` holds the input's columns and those of its path."""

    wanted: Wanted
    table: Any
    first_row: int
    fault: str = ""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.table.num_rows)

    def question(self, rows: Rows) -> Question:
        """What the model is asked of these rows."""
        from runbake_serving.protocols.columnar import data_of_table

        wanted = self.wanted
        given = self.table.column_names
        if wanted.names:
            pairs = [(name, wanted.source_of(name)) for name in wanted.names]
            pairs = [(name, source) for name, source in pairs if source in given]
        else:
            pairs = [(name, name) for name in wanted.select or given]
        table = self._of(rows).select([source for _, source in pairs])
        table = table.rename_columns([name for name, _ in pairs])
        return Question(data=data_of_table(table, wanted.model), params=dict(wanted.params))

    def kept(self, rows: Rows) -> dict[str, Any]:
        """The kept columns of these rows."""
        table = self._of(rows)
        return {name: table.column(name) for name in self.wanted.kept_of(table.column_names)}

    def _of(self, rows: Rows) -> Any:
        return self.table if rows is None else self.table.take(np.asarray(rows, dtype="int64"))

    def file_row(self, row: int) -> int:
        """Where a row was in its file, from 0."""
        return self.first_row + row


# --- text ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _TextBatch:
    """Records of a text file; `first_line` is the first record's, from 1."""

    wanted: Wanted
    block: Block
    first_line: int
    partition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fault(self) -> str:
        """Why its one row cannot be read."""
        return self.block.fault

    @cached_property
    def records(self) -> list[tuple[int, bytes]]:
        """The records that are not blank."""
        return [(0, self.block.data)] if self.fault else records_of(self.block.data, self._delimiter)

    @property
    def _delimiter(self) -> str:
        return ""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.records)

    def file_row(self, row: int) -> int:
        """The line of a row in its file, from 1."""
        return self.first_line + self.records[row][0]

    def _bytes_of(self, rows: Rows) -> bytes:
        if rows is None:
            return self.block.data
        # The last record of a file may end without a line end.
        return b"".join(record if record.endswith(b"\n") else record + b"\n" for record in self._picked(rows))

    def _picked(self, rows: Rows) -> list[bytes]:
        return (
            [record for _, record in self.records] if rows is None else [self.records[row][1] for row in rows]
        )


@dataclass(frozen=True, kw_only=True)
class CsvBatch(_TextBatch):
    """Records of a csv file; `header` are its columns, empty where they have no names."""

    header: tuple[str, ...]

    @property
    def _delimiter(self) -> str:
        return self.wanted.csv.delimiter

    @cached_property
    def rows(self) -> int:
        """How many rows it has; by counting line ends where no record is blank or quoted."""
        data = self.block.data
        simple = not self.fault and b'"' not in data and not _may_be_blank(data)
        return self.block.lines if simple else len(self.records)

    def question(self, rows: Rows) -> Question:
        """What the model is asked of these rows."""
        if rows is None and (question := self._quick_question()) is not None:
            return question
        frame = self._frame(self._bytes_of(rows))
        for name, value in self.partition.items():
            if name in self.wanted.names or name in self.wanted.select:
                frame[name] = value
        if not self.wanted.names and self.wanted.select:
            frame = frame[list(self.wanted.select)]
        return Question(data=frame, params=dict(self.wanted.params))

    def _frame(self, body: bytes) -> Any:
        parameters = {"charset": self.wanted.csv.encoding, "header": "present" if self.header else "absent"}
        if self.header:
            body = self._header_line() + body
        delimiter = self.wanted.csv.delimiter
        return frame_of_csv(body, parameters, self.wanted.model.inputs, delimiter=delimiter)

    def _header_line(self) -> bytes:
        model_names = {source: name for name, source in self.wanted.renamed.items()}
        hidden = set(self.wanted.renamed) - set(self.wanted.renamed.values())
        # A column called like one of the model's, which is read from another, gets out of the way.
        names = [model_names.get(name, f"{name} (input)" if name in hidden else name) for name in self.header]
        text = io.StringIO()
        csv_module.writer(text, delimiter=self.wanted.csv.delimiter, lineterminator="\n").writerow(names)
        return text.getvalue().encode(self.wanted.csv.encoding)

    def _quick_question(self) -> Question | None:
        """By Arrow's parser, for numbers only, where it is sure; it reads ten times as fast as pandas'."""
        from runbake_serving.batch.quick_csv import table_of_numbers

        table = table_of_numbers(self.block.data, self.header, self.wanted, self.partition)
        if table is None or table.num_rows != self.rows:
            return None
        from runbake_serving.protocols.columnar import data_of_table

        return Question(data=data_of_table(table, self.wanted.model), params=dict(self.wanted.params))

    def kept(self, rows: Rows) -> dict[str, Any]:
        """The kept columns of these rows, as texts."""
        keep = self.wanted.kept_of((*self.header, *self.partition))
        if not keep:
            return {}
        text = decoded(self._bytes_of(rows), self.wanted.csv.encoding)
        fields = list(rows_of_csv(text, self.wanted.csv.delimiter))
        places = {name: place for place, name in enumerate(self.header)}
        return {
            name: [row[places[name]] for row in fields]
            if name in places
            else [self.partition[name]] * len(fields)
            for name in keep
        }


_BLANKS = np.frombuffer(b" \t\r\n", dtype=np.uint8)


def _may_be_blank(data: bytes) -> bool:
    """Whether a line begins as a blank one does, or the last one ends so."""
    if data[:1] in (b" ", b"\t", b"\r", b"\n") or data[-1:] in (b" ", b"\t", b"\r"):
        return True
    characters = np.frombuffer(data, dtype=np.uint8)
    # One pass for the line ends: to look for each pair of characters takes ten times as long.
    first = np.flatnonzero(characters == 10) + 1
    return bool(np.isin(characters[first[first < len(data)]], _BLANKS).any())


@dataclass(frozen=True, kw_only=True)
class LinesBatch(_TextBatch):
    """Records of a JSON Lines file."""

    def question(self, rows: Rows) -> Question:
        """What the model is asked of these rows."""
        model = self.wanted.model
        as_given = model.rules.takes_inputs_as_given
        form, value = form_of_lines(self._bytes_of(rows), model.inputs, as_given=as_given)
        return question_of_form(form, self._named(form, value), model, dict(self.wanted.params))

    def _named(self, form: str, value: Any) -> Any:
        """The rows with the model's names, and the columns of the path."""
        wanted = self.wanted
        if form != "dataframe_records" or not (wanted.renamed or self.partition or wanted.select):
            return value
        if not wanted.names:
            return [{name: self._value(row, name) for name in wanted.select or row} for row in value]
        return [
            {
                name: self._value(row, wanted.source_of(name))
                for name in wanted.names
                if wanted.source_of(name) in row or wanted.source_of(name) in self.partition
            }
            for row in value
        ]

    def _value(self, row: Mapping[str, Any], name: str) -> Any:
        return row[name] if name in row else self.partition.get(name)

    def kept(self, rows: Rows) -> dict[str, Any]:
        """The kept columns of these rows; None where a row lacks one."""
        if not self.wanted.keep:
            return {}
        values = [orjson.loads(record.removeprefix(BOM_UTF8)) for record in self._picked(rows)]
        if not all(isinstance(value, dict) for value in values):
            raise InvalidRequest("only objects have columns to keep")
        keep = self.wanted.kept_of((*(values[0] if values else ()), *self.partition))
        return {name: [self._value(value, name) for value in values] for name in keep}
