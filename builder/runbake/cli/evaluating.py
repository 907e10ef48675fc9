"""The doing of `evaluate`: which images are asked, their batch jobs, the comparison of the answers."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbake.batch import needs_of
from runbake.cli.batch import check_run, image_of
from runbake.cli.context import engine_auth, open_engine, open_registries, open_tracking, settings
from runbake.cli.image_ref import image_ref
from runbake.cli.story import TerminalStory
from runbake.diff import Difference, Side, differences
from runbake.errors import EvaluationError, RunbakeError
from runbake.published import Published, read_published
from runbake.redaction import redacted
from runbake.registry import ImageRef
from runbake.runtime import Engine, run_batch
from runbake.store import Store
from runbake.tracking import Tracking
from runbake_serving.contract import LABEL_PROVENANCE_DIGEST

if TYPE_CHECKING:
    from runbake.evaluation import Answers, Evaluation, Gate, Kind

_JOB_DONE = (0, 73)
_FEW_TYPES = ("string", "boolean")
"""Inputs of these types may have few different values: each makes slices without being asked for."""
_MOST_FOUND = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a job needs beside its model; `options` are the batch job's own.

    `data` is "" for the set that the run logged, if it lies in one of `data_from`.
    """

    data: str
    data_from: tuple[str, ...]
    targets: tuple[str, ...]
    slices: tuple[str, ...]
    options: tuple[str, ...]
    store: Store


@dataclass(frozen=True, slots=True, kw_only=True)
class _Baseline:
    """What to compare with, or why there is nothing; `lost` where there should be something."""

    published: Published | None = None
    why: str = ""
    lost: bool = False


def evaluated(
    ref: str,
    asked: Asked,
    baseline: str,
    kind: Kind | None,
    gates: tuple[Gate, ...],
    repository: str | None,
    tracking_uri: str | None,
) -> Evaluation:
    """Ask both models every row of the test set, and compare.

    Raises:
        EvaluationError: test set or answers are not fit for it.
        TraceError, RegistryError, EngineError: an image cannot be found or run.
    """
    from runbake.evaluation import Evaluation, Fact, TestSet, compared, decided, in_both, truth_of, undecided

    story = TerminalStory(settings().console)
    engine = open_engine()
    candidate = _published(*_named(ref, tracking_uri, repository), engine.platform)
    asked = _with_data(asked, candidate)
    chosen = _baseline(baseline, candidate, repository, tracking_uri)
    found_slices = asked.slices or _slices_of(candidate)
    with tempfile.TemporaryDirectory(prefix="runbake-evaluate-") as place:
        answers = _answered(engine, candidate, asked, found_slices, Path(place, "model"), story)
        others = None
        if chosen.published is not None:
            try:
                others = _answered(
                    engine, chosen.published, asked, found_slices, Path(place, "baseline"), story
                )
            except RunbakeError as error:
                if baseline != "auto":
                    raise
                chosen = _lost(_run_of(chosen.published), error)
    before = chosen.published
    with story.step("measure") as step:
        seconds = [each.seconds for each in (answers, others) if each]
        rejected, rows = answers.reasons, answers.rows_in
        if others:
            answers, others = in_both(answers, others)
        truth = truth_of([each for each in (answers, others) if each], asked.targets, kind)
        columns = [column for column in found_slices if column in answers.columns]
        comparison = compared(truth, answers, columns)
        unlike = _differences(before, candidate) if before else ()
        churn, broken = comparison.churn, sum(bool(each.breaks) for each in unlike)
        facts = {
            "churn": Fact(value=churn.share if churn else None, rows=comparison.rows),
            "broken": Fact(value=churn.broken / churn.rows if churn else None, rows=comparison.rows),
            "rejected": Fact(value=sum(rejected.values()) / max(rows, 1), rows=rows),
            "ms_per_1000_rows": Fact(value=1e6 * seconds[0] / max(rows, 1), rows=None),
            "breaking_changes": Fact(value=float(broken) if before else None, rows=None),
        }
        step.say(f"{comparison.kind}, {comparison.rows:,} rows, {len(comparison.slices)} slices")
    decisions = decided(gates, comparison, facts)
    return Evaluation(
        candidate=_subject(candidate, seconds[0]),
        baseline=_subject(before, seconds[1]) if before else None,
        no_baseline=chosen.why,
        test_set=TestSet(
            uri=redacted(asked.data),
            targets=asked.targets,
            rows=rows,
            rejected=rejected,
            rejected_by_baseline=others.reasons if others else {},
            without_target=truth.without_target,
            fingerprints=answers.fingerprints,
        ),
        comparison=comparison,
        decisions=undecided(decisions, chosen.why) if chosen.lost else decisions,
        differences=unlike,
    )


def _with_data(asked: Asked, candidate: Published) -> Asked:
    """The same with the run's own test set, where none was named."""
    from runbake.evaluation import logged_data

    if asked.data:
        return asked
    found = logged_data(candidate.label_file, asked.data_from, asked.targets, os.path.realpath)
    return replace(asked, data=found.uri, targets=found.targets)


def _named(ref: str, tracking_uri: str | None, repository: str | None) -> tuple[ImageRef, str]:
    """The image that is meant, and the run that it has to be of, "" for any."""
    if ref.endswith(".json"):
        return image_ref(ref), ""
    return image_of(ref, tracking_uri, repository, remote=False)


def _published(image: ImageRef, run_id: str, platform: str) -> Published:
    published = read_published(image, open_registries()(image.host), platform=platform)
    check_run(published, run_id)
    return published


def _subject(published: Published, seconds: float) -> Any:
    from runbake.evaluation import Subject as Evaluated

    return Evaluated(
        image=f"{published.ref.repository}@{published.digest}",
        run_id=_run_of(published),
        provenance=published.labels[LABEL_PROVENANCE_DIGEST],
        seconds=seconds,
        label_file=published.label_file,
    )


def _run_of(published: Published) -> str:
    return str(published.label_file["run"]["id"])


def _slices_of(published: Published) -> tuple[str, ...]:
    """Inputs that may have few different values, by the signature."""
    signature = published.label_file["model"].get("signature") or {}
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    fields = [field for field in inputs if isinstance(field, dict)] if isinstance(inputs, list) else []
    found = [str(field["name"]) for field in fields if field.get("type") in _FEW_TYPES and field.get("name")]
    return tuple(found[:_MOST_FOUND]) if len(fields) > 1 else ()


def _baseline(
    wanted: str, candidate: Published, repository: str | None, tracking_uri: str | None
) -> _Baseline:
    """The image to compare with; else why there is none."""
    if wanted == "none":
        return _Baseline(why="none was wanted")
    if wanted != "auto":
        return _Baseline(published=_published(*_named(wanted, tracking_uri, repository), candidate.platform))
    if not tracking_uri:
        return _Baseline(why="no MLflow server is named that knows what was promoted before")
    run_id = _run_of(candidate)
    experiment = str(candidate.label_file["run"]["experiment"]["name"])
    earlier = _promoted_before(open_tracking(tracking_uri), run_id, experiment)
    if not earlier:
        return _Baseline(why=f"no other run of the experiment {experiment} was promoted before")
    try:
        image, run = image_of(earlier[0], tracking_uri, repository or candidate.ref.repository, remote=False)
        return _Baseline(published=_published(image, run, candidate.platform))
    except RunbakeError as error:
        return _lost(earlier[0], error)


def _lost(run_id: str, error: RunbakeError) -> _Baseline:
    first = (str(error).splitlines() or [""])[0]
    return _Baseline(why=f"the run {run_id}, promoted before, cannot be compared with: {first}", lost=True)


def _promoted_before(tracking: Tracking, run_id: str, experiment: str) -> list[str]:
    """Runs with the promotion tag that come after this one in `promoted`, the newest first."""
    every = [each.run_id for each in tracking.promoted(experiment)]
    return every[every.index(run_id) + 1 :] if run_id in every else every


def _answered(
    engine: Engine,
    published: Published,
    asked: Asked,
    slices: tuple[str, ...],
    output: Path,
    story: TerminalStory,
) -> Answers:
    from runbake.evaluation import read_answers

    name = output.name
    with story.step(name) as step:
        image = engine.pull(published.ref.repository, published.digest, engine_auth(published.ref.host))
        kept = list(dict.fromkeys((*asked.targets, *slices)))
        more = [part for column in kept for part in ("--keep", column)]
        form = "parquet" if _has_arrow(published) else "csv"
        more += ["--output-format", form, "--max-rejects", "100%", *asked.options]
        needs = needs_of([asked.data], str(output), None, more)
        cloud = {key: text for key, text in settings().environment.items() if key.startswith("AWS_")}
        said: list[str] = []
        with asked.store.scratch() as scratch, asked.store.marked() as mark:
            status, last = run_batch(
                *(engine, image, needs, cloud if needs.remote else {}, said.append),
                scratch=scratch,
                mark=mark,
            )
        if status not in _JOB_DONE:
            lines = ("".join(said) + last).strip().splitlines()
            raise EvaluationError(
                f"the {name} could not be asked, its batch job ended with {status}:\n"
                + "\n".join(lines[-4:]),
                hint="`runbake batch run` with the same data shows all of it; docs/batch.md has the statuses",
            )
        answers = read_answers(output, kept)
        step.say(f"{len(answers.rows):,} of {answers.rows_in:,} rows answered by {_run_of(published)[:12]}")
    return answers


def _has_arrow(published: Published) -> bool:
    return any(
        wheel.get("name") == "pyarrow"
        for wheel in published.label_file["environment"]["lock"].get("wheels", ())
    )


def _differences(before: Published, after: Published) -> tuple[Difference, ...]:
    sides = [Side(name=str(each.ref), label_file=each.label_file) for each in (before, after)]
    return tuple(each for each in differences(*sides) if each.section != "metrics")
