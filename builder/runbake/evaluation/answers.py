"""What a batch job answered, row by row of its test set; rejected rows are known by their number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from runbake.batch import read_output
from runbake.errors import EvaluationError

Rows = npt.NDArray[np.int64]
_CSV_COLUMN_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The rows that a model answered.

    Attributes:
        rows: their numbers in the test set, from 0, ascending; shape (n,).
        columns: predictions and kept columns, each of n values.
        predictions: names of the columns that the model gave.
        rows_in: rows of the test set.
        reasons: how many rows were rejected for what.
        fingerprints: of the files that were read.
        seconds: the model's and the reading's, summed over all workers.
    """

    rows: Rows
    columns: Mapping[str, pa.ChunkedArray]
    predictions: tuple[str, ...]
    rows_in: int
    reasons: Mapping[str, int]
    fingerprints: tuple[str, ...]
    seconds: float

    def at(self, rows: Rows) -> Answers:
        """Only these rows, all of which were answered."""
        index = pa.array(np.searchsorted(self.rows, rows))
        return Answers(
            rows=rows,
            columns={name: column.take(index) for name, column in self.columns.items()},
            predictions=self.predictions,
            rows_in=self.rows_in,
            reasons=self.reasons,
            fingerprints=self.fingerprints,
            seconds=self.seconds,
        )


def read_answers(root: Path, kept: Sequence[str]) -> Answers:
    """The answers in a complete output, whose columns beside `kept` are the model's.

    Raises:
        EvaluationError: the output is not complete, or no row was answered.
        TraceError: it is no output of a batch job.
    """
    output = read_output(root)
    if not output.complete:
        raise EvaluationError(f"the batch job in {root} did not end", hint="its own lines above say why")
    manifest = output.document
    tables = [_table(root / part["data"]["name"]) for part in manifest["parts"] if part["data"]]
    if not tables:
        raise EvaluationError(
            f"no row of the test set was answered, of {int(manifest['rows_in']):,}",
            hint="; ".join(
                f"{count} rows: {reason}" for reason, count in list(manifest["reasons"].items())[:3]
            )
            or "the test set is empty",
        )
    table = pa.concat_tables(tables)
    return Answers(
        rows=np.concatenate([*_rows(root, manifest["parts"])]),
        columns={name: table.column(name) for name in table.column_names},
        predictions=tuple(name for name in table.column_names if name not in kept),
        rows_in=int(manifest["rows_in"]),
        reasons={str(reason): int(count) for reason, count in manifest["reasons"].items()},
        fingerprints=tuple(str(file["fingerprint"]) for file in manifest["files"]),
        seconds=float(manifest["computing_s"]),
    )


def in_both(candidate: Answers, baseline: Answers) -> tuple[Answers, Answers]:
    """The rows that both answered.

    Raises:
        EvaluationError: the two have read different test sets, or share no row.
    """
    if (candidate.rows_in, candidate.fingerprints) != (baseline.rows_in, baseline.fingerprints):
        raise EvaluationError(
            "the test set changed between the two models' jobs", hint="evaluate again once nobody writes it"
        )
    rows = np.intersect1d(candidate.rows, baseline.rows, assume_unique=True)
    if not len(rows):
        raise EvaluationError(
            "no row was answered by both models", hint="--baseline none evaluates one alone"
        )
    return candidate.at(rows), baseline.at(rows)


def _rows(root: Path, parts: Sequence[Mapping[str, Any]]) -> Iterator[Rows]:
    first = 0
    for part in parts:
        count = int(part["rows_in"])
        answered = np.ones(count, dtype=bool)
        if part["rejects"]:
            lines = (root / part["rejects"]["name"]).read_text(encoding="utf-8").split("\n")
            answered[[int(json.loads(line)["row"]) for line in lines if line]] = False
        yield first + np.flatnonzero(answered)
        first += count


def _table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path)
    # As text: what a label or a number is, the kind of the evaluation decides, for all columns alike.
    with path.open(encoding="utf-8") as file:
        names = next(pyarrow.csv.open_csv(path)).schema.names if file.readline() else []
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


_NUMBERS = (pa.types.is_floating, pa.types.is_integer, pa.types.is_string, pa.types.is_null)
"""Types whose values may be numbers; a column of gaps alone has none of its own."""


def numbers_of(column: pa.ChunkedArray) -> npt.NDArray[np.float64] | None:
    """The column as numbers, NaN for gaps; None where a value is no number."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not any(_is_number(kind) for _is_number in _NUMBERS):
        return None
    try:
        numbers = pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        return None
    return np.asarray(pc.fill_null(numbers, float("nan")).to_numpy(), dtype=np.float64)


def labels_of(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The column as codes into its different values, written as text; -1 for gaps."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    # NaN is a gap in a column of numbers.
    names = [None if value != value else written(value) for value in encoded.dictionary.to_pylist()]
    unique = tuple(sorted({name for name in names if name is not None}))
    index = {name: position for position, name in enumerate(unique)} | {None: -1}
    place = np.array([*(index[name] for name in names), -1], dtype=np.int64)
    codes = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    return place[codes], unique


def written(value: object) -> str:
    """A label as text: 1, 1.0 and "1.0" are one, as a csv file and a model write one class differently."""
    text = str(value)
    head, point, tail = text.partition(".")
    return head if point and tail and not tail.strip("0") and head.lstrip("-").isdigit() else text
