"""The doing of `evaluate`: which models are asked, their batch jobs, the comparison of the answers."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbake.cli.asking import InImage, Model, Places, containerize_settings, in_image, model_of, run_of
from runbake.cli.context import open_registries, open_tracking, settings
from runbake.cli.story import TerminalStory
from runbake.diff import Difference, Side, differences
from runbake.errors import EvaluationError, ManifestNotFound, RunbakeError
from runbake.published import read_published
from runbake.redaction import redacted
from runbake.registry import ImageRef
from runbake.tracking import Tracking

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
    group: str
    slices: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Baseline:
    """What to compare with, or why there is nothing; `lost` where there should be something."""

    model: Model | None = None
    why: str = ""
    lost: bool = False


def evaluated(
    ref: str,
    asked: Asked,
    baseline: str,
    kind: Kind | None,
    gates: tuple[Gate, ...],
    places: Places,
) -> Evaluation:
    """Ask both models every row of the test set, and compare.

    Raises:
        EvaluationError: test set or answers are not fit for it.
        TraceError, RegistryError, EngineError: an image cannot be found or run.
    """
    from runbake.evaluation import Evaluation, Fact, TestSet, compared, decided, in_both, truth_of, undecided

    story = TerminalStory(settings().console)
    with ExitStack() as models:
        candidate = models.enter_context(model_of(ref, places))
        asked = _with_data(asked, candidate)
        # A lock is kept on the run that was named, on no other.
        chosen = _baseline(baseline, candidate, replace(places, keep_lock=False, attached=False), models)
        found_slices = asked.slices or tuple(each for each in _slices_of(candidate) if each != asked.group)
        with tempfile.TemporaryDirectory(prefix="runbake-evaluate-") as place:
            answers = _answered(candidate, asked, found_slices, Path(place, "model"), story)
            others = None
            if chosen.model is not None:
                try:
                    others = _answered(chosen.model, asked, found_slices, Path(place, "baseline"), story)
                except RunbakeError as error:
                    if baseline != "auto":
                        raise
                    chosen = _lost(run_of(chosen.model), error)
    before = chosen.model
    with story.step("measure") as step:
        seconds = [each.seconds for each in (answers, others) if each]
        rejected, rows = answers.reasons, answers.rows_in
        if others:
            answers, others = in_both(answers, others)
        truth = truth_of([each for each in (answers, others) if each], asked.targets, kind, asked.group)
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
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
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


def _with_data(asked: Asked, candidate: Model) -> Asked:
    """The same with the run's own test set, where none was named."""
    from runbake.evaluation import logged_data

    if asked.data:
        return asked
    found = logged_data(candidate.label_file, asked.data_from, asked.targets, os.path.realpath)
    return replace(asked, data=found.uri, targets=found.targets)


def _subject(model: Model, seconds: float) -> Any:
    from runbake.evaluation import Subject as Evaluated

    return Evaluated(
        image=model.image,
        run_id=run_of(model),
        provenance=model.provenance,
        seconds=seconds,
        label_file=model.label_file,
    )


def _slices_of(model: Model) -> tuple[str, ...]:
    """Inputs that may have few different values, by the signature."""
    signature = model.label_file["model"].get("signature") or {}
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    fields = [field for field in inputs if isinstance(field, dict)] if isinstance(inputs, list) else []
    found = [str(field["name"]) for field in fields if field.get("type") in _FEW_TYPES and field.get("name")]
    return tuple(found[:_MOST_FOUND]) if len(fields) > 1 else ()


def _baseline(wanted: str, candidate: Model, places: Places, models: ExitStack) -> _Baseline:
    """The model to compare with, which lives as long as `models`; else why there is none."""
    if wanted == "none":
        return _Baseline(why="none was wanted")
    if wanted != "auto":
        return _Baseline(model=models.enter_context(model_of(wanted, places)))
    if isinstance(candidate, InImage) and places.repository is None:
        places = replace(places, repository=candidate.published.ref.repository)
    if (holder := _tagged(candidate, places)) is not None:
        return holder
    if not places.tracking_uri:
        return _Baseline(why="no MLflow server is named that knows what was promoted before")
    experiment = str(candidate.label_file["run"]["experiment"]["name"])
    earlier = _promoted_before(open_tracking(places.tracking_uri), run_of(candidate), experiment)
    if not earlier:
        return _Baseline(why=f"no other run of the experiment {experiment} was promoted before")
    try:
        return _Baseline(model=models.enter_context(model_of(earlier[0], places)))
    except RunbakeError as error:
        return _lost(earlier[0], error)


def _tagged(candidate: Model, places: Places) -> _Baseline | None:
    """The image of another run that holds a tag which `containerize` moves, by runbake.toml."""
    found = containerize_settings()
    tags = found.get("tag") or ()
    repository = places.repository or found.get("repository")
    for tag in [tags] if isinstance(tags, str) else tags if repository else ():
        image = ImageRef.parse(f"{repository}:{tag}")
        try:
            held = read_published(image, open_registries()(image.host))
            if str(held.label_file["run"]["id"]) == run_of(candidate):
                continue
            return _Baseline(model=in_image(image, places))
        except ManifestNotFound:
            continue
        except RunbakeError as error:
            return _lost(f"behind {image}", error)
    return None


def _lost(run_id: str, error: RunbakeError) -> _Baseline:
    first = (str(error).splitlines() or [""])[0]
    return _Baseline(why=f"the run {run_id}, promoted before, cannot be compared with: {first}", lost=True)


def _promoted_before(tracking: Tracking, run_id: str, experiment: str) -> list[str]:
    """Runs with the promotion tag that come after this one in `promoted`, the newest first."""
    every = [each.run_id for each in tracking.promoted(experiment)]
    return every[every.index(run_id) + 1 :] if run_id in every else every


def _answered(
    model: Model, asked: Asked, slices: tuple[str, ...], output: Path, story: TerminalStory
) -> Answers:
    from runbake.evaluation import read_answers

    name = output.name
    with story.step(name) as step:
        kept = list(dict.fromkeys(filter(None, (*asked.targets, asked.group, *slices))))
        more = [part for column in kept for part in ("--keep", column)]
        form = "parquet" if model.has_arrow else "csv"
        more += ["--output-format", form, "--max-rejects", "100%", *asked.options]
        said: list[str] = []
        status, last = model.batch(asked.data, output, more, said.append)
        if status not in _JOB_DONE:
            lines = ("".join(said) + last).strip().splitlines()
            raise EvaluationError(
                f"the {name} could not be asked, its batch job ended with {status}:\n"
                + "\n".join(lines[-4:]),
                hint="`runbake batch run` with the same data shows all of it; docs/batch.md has the statuses"
                if model.image
                else "docs/batch.md has the statuses; where there is an image, that is asked",
            )
        answers = read_answers(output, kept)
        where = "" if model.image else ", beside the wheels of its lock"
        step.say(f"{len(answers.rows):,} of {answers.rows_in:,} rows answered by {run_of(model)[:12]}{where}")
    return answers


def _differences(before: Model, after: Model) -> tuple[Difference, ...]:
    sides = [Side(name=each.image or run_of(each), label_file=each.label_file) for each in (before, after)]
    return tuple(each for each in differences(*sides) if each.section != "metrics")
