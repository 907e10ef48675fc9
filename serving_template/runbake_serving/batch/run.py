"""A job from its spec to its manifest: look, plan, compute what is not there, sum up.

1. `_PLAN.json` is read; where there is none, every input file is looked at, the size of batches is found out,
   and the plan is written, once. Who comes second takes the plan of the first.
2. A plan of another job is refused, with the differences.
3. Parts that are recorded, and whose files are still those of the record, are done.
4. The others are computed by forked workers, each committed as soon as it is whole.
5. When all are there, the manifest is written. With shards, `finish` does this step.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from runbake_serving.batch.batches import Wanted
from runbake_serving.batch.committing import Bench, all_finished, compute
from runbake_serving.batch.failures import BatchFailure, Incomplete, TooManyRejects
from runbake_serving.batch.formats import check_arrow
from runbake_serving.batch.identity import comparable, identity_of, makers_of, without_unknown_image
from runbake_serving.batch.judging import Judge
from runbake_serving.batch.local import LocalInputs, LocalOutput
from runbake_serving.batch.plan import Part, Plan, check_same, parts_of, plan_of_json
from runbake_serving.batch.progress import Progress
from runbake_serving.batch.reading import batches_of
from runbake_serving.batch.records import Record, manifest_of
from runbake_serving.batch.s3 import S3Inputs, S3Output
from runbake_serving.batch.shards import Shard
from runbake_serving.batch.sizing import budget_bytes, found_batch_rows
from runbake_serving.batch.spec import JobSpec, MaxRejects, spec_of
from runbake_serving.batch.storage import S3, Inputs, Output, check_outside
from runbake_serving.batch.survey import check_names, found_files, surveyed
from runbake_serving.batch.workers import Rules, Stop, run_parts, run_parts_here
from runbake_serving.contract import (
    BATCH_COMPLETE,
    BATCH_MANIFEST,
    BATCH_PLAN,
    BATCH_REJECTS,
    HEADER_PROVENANCE,
    VERSION,
)
from runbake_serving.label.provenance import Provenance
from runbake_serving.model.model import MLMODEL, Model

_LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "fasttext", "pyspark", "mlflow-skinny", "mlflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is outside: clocks, the terminal, signals, the place.

    Attributes:
        now_s: a clock that does not jump; `now` tells seconds since 1970.
        scratch: where parts for S3 are made.
        path_style: how buckets are named to S3: another endpoint than Amazon's wants them in the path.
    """

    cpus: float
    grace_s: float
    now_s: Callable[[], float]
    now: Callable[[], float]
    stderr: TextIO
    stop: Stop
    scratch: Path
    path_style: bool

    def inputs_of(self, uri: str) -> Inputs:
        """The door for this input."""
        return S3Inputs(path_style=self.path_style) if uri.startswith(S3) else LocalInputs()

    def output_of(self, uri: str) -> Output:
        """The door for this output."""
        if uri.startswith(S3):
            return S3Output(uri=uri.rstrip("/"), scratch=self.scratch, path_style=self.path_style)
        return LocalOutput(Path(uri))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model in question, and where it is from."""

    model: Model
    root: Path
    provenance: Provenance | None
    image_digest: str

    @property
    def provenance_digest(self) -> str:
        """The label file's digest; empty where there is none."""
        headers = dict(self.provenance.headers) if self.provenance is not None else {}
        return headers.get(HEADER_PROVENANCE, "")

    @property
    def digests(self) -> dict[str, str]:
        """What names it, for `identity`."""
        return {
            "image_digest": self.image_digest,
            "provenance_digest": self.provenance_digest,
            "model_digest": hashlib.sha256((self.root / MLMODEL).read_bytes()).hexdigest(),
        }


def run(spec: JobSpec, subject: Subject, world: World, shard: Shard | None) -> int:
    """Do the job, or one shard of it; the exit status.

    Raises:
        BatchFailure: it cannot be done, or not wholly; what is committed stays.
    """
    if spec.output_format == "parquet":
        check_arrow("parquet output")
    check_outside(spec.output, spec.inputs)
    wanted, output = _wanted(spec, subject.model), world.output_of(spec.output)
    check_names(wanted)
    # Until the first part is begun there is nothing to finish.
    with world.stop.at_once():
        plan = _plan(spec, subject, world, wanted, output)
        parts = plan.of_shard(shard.index, shard.count) if shard else plan.parts
        records = all_finished(parts, output)
    todo = [part for part in parts if part.id not in records]
    if records:
        world.stderr.write(f"  batch   {len(records)} of {len(parts)} parts are there already\n")
    if todo:
        records |= _computed(todo, spec, plan, wanted, output, subject, world, records)
    if shard is None:
        return _summed_up(spec, plan, records, subject, world, output)
    # Whether its rejected rows are too many only the whole job knows: `finish` says so.
    _tell_shard(shard, records, world)
    return BATCH_COMPLETE


def finish(output_uri: str, max_rejects: MaxRejects | None, subject: Subject, world: World) -> int:
    """Check every part of the output, and write the manifest; the exit status.

    The job is that of the plan; `max_rejects` replaces its own.

    Raises:
        BadSpec: the parts are another image's: the manifest would tell a wrong origin.
        BatchFailure: parts are missing, or too many rows were rejected.
    """
    output = world.output_of(output_uri)
    text = output.read(BATCH_PLAN)
    if text is None:
        raise BatchFailure(f"no job was begun in {output_uri}", hint="name the --output of the shards")
    plan = plan_of_json(text, where=f"{output_uri}/{BATCH_PLAN}")
    _check_makers(plan, subject, output_uri)
    with world.stop.at_once():
        records = all_finished(plan.parts, output)
    job = spec_of(plan.job)
    job = replace(job, max_rejects=max_rejects) if max_rejects is not None else job
    return _summed_up(job, plan, records, subject, world, output)


# --- planning ------------------------------------------------------------------------------------------


def _wanted(spec: JobSpec, model: Model) -> Wanted:
    return Wanted(
        model=model,
        params=spec.params,
        renamed=dict(spec.columns),
        select=spec.select,
        keep=spec.keep,
        csv=spec.csv,
    )


def _plan(spec: JobSpec, subject: Subject, world: World, wanted: Wanted, output: Output) -> Plan:
    identity = identity_of(spec, **subject.digests)
    text = output.read(BATCH_PLAN)
    if text is None:
        plan = _new_plan(spec, identity, world, wanted)
        if output.create(BATCH_PLAN, plan.to_json().encode()):
            return plan
        # Another runner was faster: its plan is the one.
        text = output.read(BATCH_PLAN)
    begun = plan_of_json(text or b"", where=f"{spec.output}/{BATCH_PLAN}")
    was = comparable(begun.identity, begun.files)
    now = comparable(identity, found_files(spec.inputs, world.inputs_of, outside=spec.output))
    without_unknown_image(was, now)
    check_same(was, now, output=spec.output)
    return begun


def _check_makers(plan: Plan, subject: Subject, output_uri: str) -> None:
    now = makers_of(**subject.digests)
    was = {key: copy.deepcopy(plan.identity.get(key)) for key in now}
    without_unknown_image(was, now)
    check_same(was, now, output=output_uri)


def _new_plan(spec: JobSpec, identity: Mapping[str, Any], world: World, wanted: Wanted) -> Plan:
    seen = surveyed(spec, wanted, world.inputs_of)
    parts = parts_of(seen.pieces, part_rows=spec.part_rows)

    def plan_with(rows: int) -> Plan:
        return Plan(identity=identity, job=spec.to_json(), batch_rows=rows, files=seen.files, parts=parts)

    if spec.batch_rows is not None or not parts:
        return plan_with(spec.batch_rows or 1)

    def predict(rows: int) -> int:
        first = next(iter(batches_of(plan_with(rows), parts[0], wanted, world.inputs_of, rows=rows)), None)
        if first is None or first.fault:
            return 0
        Judge(model=wanted.model, prediction=spec.prediction).judged(first, first_row=0, most_rejects=0)
        return first.rows

    found = found_batch_rows(
        lambda rows: _tried(predict, rows),
        forks=wanted.model.forks,
        memory_bytes=spec.memory_bytes or budget_bytes(),
        workers=_workers(spec, wanted.model, world),
        now_s=world.now_s,
    )
    return plan_with(found)


def _tried(predict: Callable[[int], int], rows: int) -> int:
    try:
        return predict(rows)
    except BatchFailure:
        return 0  # the part itself will tell what is wrong


def _workers(spec: JobSpec, model: Model, world: World) -> int:
    wanted = spec.workers or max(1, int(world.cpus))
    return wanted if model.forks else 1


# --- computing -----------------------------------------------------------------------------------------


def _computed(
    todo: list[Part],
    spec: JobSpec,
    plan: Plan,
    wanted: Wanted,
    output: Output,
    subject: Subject,
    world: World,
    records: Mapping[str, Record],
) -> dict[str, Record]:
    bench = Bench(
        plan=plan,
        wanted=wanted,
        judge=Judge(model=subject.model, prediction=spec.prediction),
        output=output,
        output_format=spec.output_format,
        inputs_of=world.inputs_of,
        now=world.now,
    )
    counts = [part.rows for part in todo]
    known = None if None in counts else sum(count for count in counts if count is not None)
    progress = Progress(stream=world.stderr, parts=len(todo), rows=known, now_s=world.now_s)
    rejects = spec.max_rejects
    most = rejects.rows if rejects.rows is not None else rejects.allowed(plan.rows) if plan.rows else None
    rules = Rules(
        workers=_workers(spec, subject.model, world),
        grace_s=world.grace_s,
        most_rejects=most,
        now_s=world.now_s,
    )

    def work(part: Part, most_rejects: int | None, tell: Callable[[int], None]) -> Record:
        try:
            return compute(part, bench, most_rejects=most_rejects, tell=tell)
        except TooManyRejects as error:
            raise TooManyRejects(
                f"more than {spec.max_rejects} rows are rejected: {error}",
                hint="correct the rows, or accept some with --max-rejects N or P%",
            ) from error

    before = sum(record.rejected for record in records.values())
    try:
        carry_out = run_parts if subject.model.forks else run_parts_here
        return carry_out(todo, work, rules, progress, world.stop, rejected=before)
    finally:
        progress.end()


# --- summing up ----------------------------------------------------------------------------------------


def _summed_up(
    spec: JobSpec,
    plan: Plan,
    records: Mapping[str, Record],
    subject: Subject,
    world: World,
    output: Output,
) -> int:
    missing = [part.id for part in plan.parts if part.id not in records]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise Incomplete(
            f"{len(missing)} of {len(plan.parts)} parts are missing: {named}", hint="run their shards again"
        )
    ordered = [records[part.id] for part in plan.parts]
    rejected, rows = (sum(record.rejected for record in ordered), sum(record.rows_in for record in ordered))
    if rejected > spec.max_rejects.allowed(rows):
        raise TooManyRejects(
            f"{rejected} of {rows} rows were rejected, {spec.max_rejects} are accepted",
            hint="_rejects/ tells which and why; accept them with --max-rejects N or P%",
        )
    if spec.output_format == "parquet":
        _check_types(ordered)
    document = manifest_of(
        spec,
        plan,
        ordered,
        provenance=json.loads(subject.provenance.body) if subject.provenance else None,
        provenance_digest=subject.provenance_digest,
        versions=_versions(),
        written_at=round(world.now(), 3),
    )
    output.create(
        BATCH_MANIFEST, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n", replace=True
    )
    output.leave()
    world.stderr.write(
        f"  batch   {document['state'].replace('_', ' ')}: {rows:,} rows in, {document['rows_out']:,} out, "
        f"{rejected:,} rejected\n"
    )
    return BATCH_REJECTS if rejected else BATCH_COMPLETE


def _check_types(records: Sequence[Record]) -> None:
    """Return where all files have one schema: readers of a directory take the first one's."""
    with_rows = [record for record in records if record.data is not None]
    for record in with_rows[1:]:
        first, this = dict(with_rows[0].columns), dict(record.columns)
        for name in first.keys() | this.keys():
            if first.get(name) != this.get(name):
                raise BatchFailure(
                    f"the column {name!r} is {first.get(name, 'missing')} in {with_rows[0].part}, and "
                    f"{this.get(name, 'missing')} in {record.part}",
                    hint="the input's types change from file to file: correct them, or write jsonl",
                )


def _tell_shard(shard: Shard, records: Mapping[str, Record], world: World) -> None:
    rows = sum(record.rows_in for record in records.values())
    world.stderr.write(
        f"  batch   shard {shard}: {len(records)} parts, {rows:,} rows; `batch finish` sums up\n"
    )


def _versions() -> dict[str, str]:
    versions = {"runbake": VERSION, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
