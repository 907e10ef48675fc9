"""The part plan: which rows of which file make which part. Pure, written once, obeyed by every runner.

The plan is made from facts of the input files, stored as `_PLAN.json` before the first part is computed, and
read back by whoever continues: a part's rows and the size of its batches are then the same on every machine,
so that its bytes are too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbake_serving.batch.failures import BadSpec
from runbake_serving.contract import BATCH_PLAN_SCHEMA, VERSION

_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One input file as it was when the job was planned.

    Attributes:
        fingerprint: of S3 its ETag; of a local file the sha256 of size, first and last 64 KiB. No times: they
            differ between machines.
        partition: columns that its path tells (`year=2026/`), in order.
    """

    uri: str
    format: str
    size_bytes: int
    fingerprint: str
    partition: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows that are computed, written and committed together.

    Attributes:
        id: `part-00000`; also the name of its files.
        file: index of its input file in the plan.
        begin, end: row groups (parquet), record batches (arrow) or bytes (csv, jsonl), the end not included;
            `end` -1 reads to the end of a file that cannot be divided (compressed).
        first_row: rows of the file before it; of csv and jsonl lines, the header's included.
        rows: how many rows there are; None where only reading tells (csv, jsonl).
    """

    id: str
    file: int
    begin: int
    end: int
    first_row: int
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What can be read of a file on its own, before parts are named."""

    begin: int
    end: int
    first_row: int
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole job, divided.

    Attributes:
        identity: what must be the same to continue, as `identity_of` in `identity` made it.
        job: the job as it was given, for `finish`.
        batch_rows: rows of one prediction.
    """

    identity: Mapping[str, Any]
    job: Mapping[str, Any]
    batch_rows: int
    files: tuple[InputFile, ...]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int | None:
        """Rows of all parts; None where only reading tells."""
        counts = [part.rows for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def of_shard(self, index: int, count: int) -> tuple[Part, ...]:
        """The parts of shard `index` of `count`, counted from 0: every `count`-th one."""
        return self.parts[index::count]

    def to_json(self) -> str:
        """The text of `_PLAN.json`."""
        document = {
            "schema": BATCH_PLAN_SCHEMA,
            "runtime": VERSION,
            "identity": self.identity,
            "job": self.job,
            "batch_rows": self.batch_rows,
            "files": [
                {
                    "uri": file.uri,
                    "format": file.format,
                    "size_bytes": file.size_bytes,
                    "fingerprint": file.fingerprint,
                    "partition": dict(file.partition),
                }
                for file in self.files
            ],
            "parts": [
                [part.id, part.file, part.begin, part.end, part.first_row, part.rows] for part in self.parts
            ],
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"


def plan_of_json(text: str | bytes, *, where: str) -> Plan:
    """The plan in this text: `plan_of_json(plan.to_json()) == plan`.

    Raises:
        BadSpec: it is none, or one of another version.
    """
    try:
        document = json.loads(text)
        if document["schema"] != BATCH_PLAN_SCHEMA:
            raise ValueError("another version")
        return Plan(
            identity=document["identity"],
            job=document["job"],
            batch_rows=int(document["batch_rows"]),
            files=tuple(
                InputFile(**{**file, "partition": tuple(file["partition"].items())})
                for file in document["files"]
            ),
            parts=tuple(
                Part(id=id_, file=file, begin=begin, end=end, first_row=first, rows=rows)
                for id_, file, begin, end, first, rows in document["parts"]
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSpec(
            f"{where} is not a plan that this runtime reads", hint="choose an output of its own for this job"
        ) from error


def parts_of(pieces: Sequence[Sequence[Piece]], *, part_rows: int) -> tuple[Part, ...]:
    """Parts of about `part_rows` rows from each file's pieces; neighbours are joined, nothing is divided."""
    joined = [(file, piece) for file, several in enumerate(pieces) for piece in _joined(several, part_rows)]
    return tuple(
        Part(
            id=f"part-{number:05d}",
            file=file,
            begin=piece.begin,
            end=piece.end,
            first_row=piece.first_row,
            rows=piece.rows,
        )
        for number, (file, piece) in enumerate(joined)
    )


def _joined(pieces: Sequence[Piece], part_rows: int) -> Iterator[Piece]:
    open_: Piece | None = None
    for piece in pieces:
        rows = _rows_together(open_, piece)
        if open_ is not None and rows is not None and rows <= part_rows:
            open_ = Piece(begin=open_.begin, end=piece.end, first_row=open_.first_row, rows=rows)
            continue
        if open_ is not None:
            yield open_
        open_ = piece
    if open_ is not None:
        yield open_


def _rows_together(one: Piece | None, other: Piece) -> int | None:
    return (
        one.rows + other.rows if one is not None and one.rows is not None and other.rows is not None else None
    )


def check_same(begun: Mapping[str, Any], now: Mapping[str, Any], *, output: str) -> None:
    """Return where the job that the output was begun with is this one.

    Raises:
        BadSpec: it is another; the message names what differs.
    """
    differences = list(_differences(begun, now, ""))
    if differences:
        more = len(differences) - _NAMED
        raise BadSpec(
            f"{output} was begun by another job: {'; '.join(differences[:_NAMED])}"
            + (f"; and {more} more" if more > 0 else ""),
            hint="continue with the same input, image and parameters, or choose another output",
        )


def _differences(begun: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(begun, Mapping) and isinstance(now, Mapping):
        for key in sorted(begun.keys() | now.keys()):
            yield from _differences(begun.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif begun != now:
        yield f"{name} was {_told(begun)} and is {_told(now)}"


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return "missing" if value is None else text if len(text) <= 100 else f"{text[:97]}…"
