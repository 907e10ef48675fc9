"""A part from its rows to its record: computed into a scratch file, committed, recorded; in that order.

A part counts as done when its record is there and its files are those of the record. Names are
deterministic, and a name is given once: of two runners that compute one part the first one's files stay, and
the other adopts its record. What lies under a name without a record is of a runner that was killed in
between, and is replaced.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runbake_serving.batch.batches import Wanted
from runbake_serving.batch.failures import BatchFailure
from runbake_serving.batch.judging import Judge
from runbake_serving.batch.local import told
from runbake_serving.batch.plan import Part, Plan
from runbake_serving.batch.reading import batches_of
from runbake_serving.batch.records import Record, WrittenFile, record_of
from runbake_serving.batch.rejects import line_of
from runbake_serving.batch.storage import Inputs, Output
from runbake_serving.batch.writing import writer_of
from runbake_serving.contract import BATCH_RECORDS, BATCH_REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a worker needs for any part of one job; `now` tells seconds since 1970."""

    plan: Plan
    wanted: Wanted
    judge: Judge
    output: Output
    output_format: str
    inputs_of: Callable[[str], Inputs]
    now: Callable[[], float]


@dataclass(slots=True)
class _Tally:
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0


def compute(part: Part, bench: Bench, *, most_rejects: int | None, tell: Callable[[int], None]) -> Record:
    """Compute and commit one part; its record. `tell` is called with the rows of each batch.

    Raises:
        BatchFailure: the part cannot be computed or written; nothing of it is committed.
    """
    if (done := finished(part, bench.output)) is not None:
        tell(done.rows_in)
        return done
    started_at, tally, reasons = bench.now(), _Tally(), dict[str, int]()
    with (
        _scratch(bench.output, part, bench.output_format) as data,
        _scratch(bench.output, part, "rejects") as rejects,
    ):
        columns = _write(part, bench, (data, rejects), tally, reasons, most_rejects, tell)
        return _committed(
            bench.output,
            Record(
                part=part.id,
                rows_in=tally.rows_in,
                rows_out=tally.rows_out,
                rejected=tally.rejected,
                data=_written(data, f"{part.id}.{bench.output_format}") if tally.rows_out else None,
                rejects=_written(rejects, f"{BATCH_REJECTED}/{part.id}.jsonl") if tally.rejected else None,
                reasons=tuple(sorted(reasons.items())),
                columns=columns,
                started_at=round(started_at, 3),
                ended_at=round(bench.now(), 3),
            ),
            {"data": data, "rejects": rejects},
            names={
                "data": f"{part.id}.{bench.output_format}",
                "rejects": f"{BATCH_REJECTED}/{part.id}.jsonl",
            },
        )


def _write(
    part: Part,
    bench: Bench,
    paths: tuple[Path, Path],
    tally: _Tally,
    reasons: dict[str, int],
    most_rejects: int | None,
    tell: Callable[[int], None],
) -> tuple[tuple[str, str], ...]:
    file = bench.plan.files[part.file].uri
    rows = bench.plan.batch_rows
    with (
        writer_of(bench.output_format, paths[0]) as writer,
        told(paths[1], "written"),
        paths[1].open("wb") as rejects,
    ):
        for batch in batches_of(bench.plan, part, bench.wanted, bench.inputs_of, rows=rows):
            left = None if most_rejects is None else most_rejects - tally.rejected
            with _blamed(file, part):
                judged = bench.judge.judged(batch, first_row=tally.rows_in, most_rejects=left)
            if judged.rows_out:
                writer.write(judged.columns)
            for reject in judged.rejects:
                rejects.write(line_of(reject, part=part.id, file=file))
                reasons[reject.kind] = reasons.get(reject.kind, 0) + 1
            tally.rows_in += judged.rows_in
            tally.rows_out += judged.rows_out
            tally.rejected += len(judged.rejects)
            tell(judged.rows_in)
        rejects.flush()
        os.fsync(rejects.fileno())
    if part.rows is not None and tally.rows_in != part.rows:
        raise BatchFailure(
            f"{part.id} of {file} has {tally.rows_in} rows in place of the {part.rows} planned"
        )
    return writer.columns


@contextmanager
def _blamed(file: str, part: Part) -> Iterator[None]:
    try:
        yield
    except BatchFailure as error:
        raise type(error)(f"{file} ({part.id}): {error}", hint=error.hint) from error


@contextmanager
def _scratch(output: Output, part: Part, kind: str) -> Iterator[Path]:
    """A path of this runner's own; what lies there in the end goes."""
    path = output.scratch / f"{part.id}.{uuid.uuid4().hex}.{kind}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _written(path: Path, name: str) -> WrittenFile:
    with told(path, "read"), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return WrittenFile(name=name, size_bytes=os.fstat(file.fileno()).st_size, sha256=digest)


# --- committing ----------------------------------------------------------------------------------------


def _committed(output: Output, record: Record, paths: dict[str, Path], *, names: dict[str, str]) -> Record:
    for kind, file in (("data", record.data), ("rejects", record.rejects)):
        if file is None:
            output.clear(names[kind])
        elif not output.commit(paths[kind], file.name, file.sha256) and not _is(output, file):
            if (theirs := finished_id(record.part, output)) is not None:
                return theirs
            output.commit(paths[kind], file.name, file.sha256, replace=True)
    name = f"{BATCH_RECORDS}/{record.part}.json"
    if not output.create(name, record.text()):
        if (theirs := finished_id(record.part, output)) is not None:
            return theirs
        output.create(name, record.text(), replace=True)
    return record


def finished(part: Part, output: Output) -> Record | None:
    """The record of a part that is done; None for others, and where its files are not those of its record."""
    return finished_id(part.id, output)


def finished_id(part: str, output: Output) -> Record | None:
    """As `finished`, of the part with this id."""
    text = output.read(f"{BATCH_RECORDS}/{part}.json")
    record = record_of(text) if text is not None else None
    if record is None or record.part != part:
        return None
    return record if all(_is(output, file) for file in (record.data, record.rejects) if file) else None


def all_finished(parts: Iterable[Part], output: Output) -> dict[str, Record]:
    """The records of those of these parts that are done, by id."""
    there = output.names(BATCH_RECORDS)
    records = (finished(part, output) for part in parts if f"{part.id}.json" in there)
    return {record.part: record for record in records if record is not None}


def _is(output: Output, file: WrittenFile) -> bool:
    return output.sum_of(file.name) == (file.size_bytes, file.sha256)
