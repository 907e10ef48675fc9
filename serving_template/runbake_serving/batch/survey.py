"""A look at every input file before anything is planned: is it there, can it be read, has it the columns?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

from runbake_serving.batch.batches import Wanted
from runbake_serving.batch.failures import BadSpec, BatchFailure
from runbake_serving.batch.formats import NEED_ARROW, check_arrow, compression_of, format_of, unpacked
from runbake_serving.batch.lines import blocks_of
from runbake_serving.batch.plan import InputFile, Piece
from runbake_serving.batch.spec import EVERY_COLUMN, JobSpec
from runbake_serving.batch.storage import Found, Inputs, is_within, partition_of
from runbake_serving.batch.tables import look_at_arrow, look_at_parquet
from runbake_serving.batch.texts import header_of
from runbake_serving.model.casting import specs_of
from runbake_serving.model.signature import Column

_SCAN_ROWS = 16_384
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """The job's files, and what can be read of each on its own."""

    files: tuple[InputFile, ...]
    pieces: tuple[tuple[Piece, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one file has: its pieces, and its columns with their types; None where only rows tell."""

    pieces: tuple[Piece, ...]
    columns: Mapping[str, str] | None


def surveyed(spec: JobSpec, wanted: Wanted, inputs_of: Callable[[str], Inputs]) -> Surveyed:
    """Every input file, in order; one that is named twice counts once.

    Raises:
        BatchFailure: a file is missing, unreadable, or has other columns than the model or the first file.
        BadSpec: a format is not known.
    """
    files, pieces = list[InputFile](), list[tuple[Piece, ...]]()
    firsts = dict[str, tuple[str, Mapping[str, str]]]()
    for found in found_files(spec.inputs, inputs_of, outside=spec.output):
        file = _file_of(found, spec.input_format)
        looked = _look(file, spec, wanted, inputs_of(file.uri))
        if looked.columns is not None:
            _check_columns(file, looked.columns, wanted)
            _check_types(
                file, looked.columns, firsts.setdefault(file.format, (file.uri, looked.columns)), wanted
            )
        files.append(file)
        pieces.append(looked.pieces)
    return Surveyed(files=tuple(files), pieces=tuple(pieces))


def found_files(uris: Iterable[str], inputs_of: Callable[[str], Inputs], *, outside: str) -> Sequence[Found]:
    """The input's files as they are now, each once; none that lies in the output `outside`.

    Raises:
        BatchFailure: there are none, or one cannot be read.
    """
    found: dict[str, Found] = {}
    for uri in uris:
        for one in inputs_of(uri).find(uri):
            if not is_within(one.uri, outside):
                found.setdefault(one.uri, one)
    return list(found.values())


def _file_of(found: Found, asked: str | None) -> InputFile:
    return InputFile(
        uri=found.uri,
        format=format_of(found.uri, asked),
        size_bytes=found.size_bytes,
        fingerprint=found.fingerprint,
        partition=partition_of(found.uri),
    )


def _look(file: InputFile, spec: JobSpec, wanted: Wanted, inputs: Inputs) -> Looked:
    if file.format in NEED_ARROW:
        check_arrow(f"{file.format} ({file.uri})")
    with closing(inputs.open(file.uri, file.fingerprint)) as opened:
        match file.format:
            case "parquet":
                return Looked(**look_at_parquet(opened, file.uri)._asdict())
            case "arrow":
                return Looked(**look_at_arrow(opened, file.uri)._asdict())
            case _:
                return _look_at_text(opened, file, spec, wanted)


# --- text ----------------------------------------------------------------------------------------------


def _look_at_text(opened: BinaryIO, file: InputFile, spec: JobSpec, wanted: Wanted) -> Looked:
    is_csv = file.format == "csv"
    if not is_csv and EVERY_COLUMN in wanted.keep:
        raise BadSpec(
            f"--keep '*' of {file.uri}: lines of JSON may each have other names",
            hint="name the columns to keep",
        )
    with unpacked(opened, file.uri) as stream:
        header, header_bytes, lines = header_of(stream, file.uri, wanted) if is_csv else ((), 0, 0)
        columns = dict.fromkeys(header, "text") if header else None
        if columns is not None:
            _check_dialect(file, header, wanted)
        elif is_csv:
            _check_nameless(file, wanted)
        if compression_of(file.uri):
            return Looked(
                pieces=(Piece(begin=header_bytes, end=-1, first_row=lines, rows=None),), columns=columns
            )
        stream.seek(header_bytes)
        delimiter = wanted.csv.delimiter if is_csv else ""
        pieces = tuple(_scanned(stream, header_bytes, lines, spec.part_rows, delimiter))
    return Looked(pieces=pieces, columns=columns)


def _check_nameless(file: InputFile, wanted: Wanted) -> None:
    named = [name for name in (*wanted.select, *wanted.keep) if name != EVERY_COLUMN]
    missing = [name for name in named if name not in dict(file.partition)]
    if missing:
        raise BatchFailure(
            f"{file.uri} has no header, and so no column {missing[0]!r}",
            hint="--csv-header present says that the first line is one",
        )


def _scanned(stream: BinaryIO, begin: int, line: int, part_rows: int, delimiter: str) -> Iterable[Piece]:
    end, seen = begin, 0
    for block in blocks_of(stream, rows=min(_SCAN_ROWS, part_rows), delimiter=delimiter):
        end, seen = end + block.size_bytes, seen + block.lines
        if seen >= part_rows:
            yield Piece(begin=begin, end=end, first_row=line, rows=None)
            begin, line, seen = end, line + seen, 0
    if end > begin:
        yield Piece(begin=begin, end=end, first_row=line, rows=None)


def _check_dialect(file: InputFile, header: tuple[str, ...], wanted: Wanted) -> None:
    needed = [wanted.source_of(name) for name in wanted.names]
    if len(header) > 1 or not needed or header[0] in needed:
        return
    for delimiter in _DELIMITERS:
        if delimiter in header[0] and delimiter != wanted.csv.delimiter:
            raise BatchFailure(
                f"{file.uri} has one column under the delimiter {wanted.csv.delimiter!r}",
                hint=f"its first line has {delimiter!r}: --csv-delimiter {delimiter!r}",
            )


# --- columns -------------------------------------------------------------------------------------------


def _check_columns(file: InputFile, columns: Mapping[str, str], wanted: Wanted) -> None:
    given = {*columns, *dict(file.partition)}
    needed = [*_required(wanted), *wanted.select, *(name for name in wanted.keep if name != EVERY_COLUMN)]
    missing = [name for name in dict.fromkeys(needed) if name not in given]
    if missing:
        raise BatchFailure(
            f"{file.uri} lacks the columns "
            + ", ".join(_guessed(name, given) for name in missing[:20])
            + (f" and {len(missing) - 20} more" if len(missing) > 20 else ""),
            hint="--column MODEL=INPUT reads a column of the model from one with another name",
        )


def _required(wanted: Wanted) -> list[str]:
    return [
        wanted.source_of(name)
        for name, spec in specs_of(wanted.model.inputs).items()
        if not isinstance(spec, Column) or spec.required
    ]


def _guessed(name: str, given: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(given), n=2, cutoff=0.7)
    return repr(name) + (f" (it has {' and '.join(map(repr, near))})" if near else "")


def _check_types(
    file: InputFile, columns: Mapping[str, str], first: tuple[str, Mapping[str, str]], wanted: Wanted
) -> None:
    read = [wanted.source_of(name) for name in wanted.names] or list(wanted.select) or sorted(first[1])
    for name in dict.fromkeys([*read, *wanted.keep]):
        if columns.get(name) != first[1].get(name):
            raise BatchFailure(
                f"{file.uri} has the column {name!r} as {columns.get(name) or 'none'}, "
                f"{first[0]} as {first[1].get(name) or 'none'}",
                hint="convert one of them, or run a job for each: an output has one type for each column",
            )


def check_names(wanted: Wanted) -> None:
    """Return where the job's columns are such as the model has.

    Raises:
        BadSpec: a renamed column is not the model's, or columns are selected for a model that names its own.
    """
    unknown = [name for name in wanted.renamed if name not in wanted.names]
    if unknown:
        guesses = ", ".join(_guessed(name, wanted.names) for name in unknown)
        raise BadSpec(f"the model has no column {guesses}", hint="--column takes MODEL=INPUT")
    if wanted.select and wanted.names:
        raise BadSpec(
            "the model names its columns itself: there is nothing to select", hint="leave out --select"
        )
