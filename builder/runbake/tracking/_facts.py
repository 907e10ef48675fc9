"""What a run says of itself, in our nouns: only what was fixed when it ended, sorted, without credentials."""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runbake.redaction import redacted
from runbake.tracking._artifacts import store_at
from runbake.tracking._door import Door
from runbake.tracking._promotion import PROMOTED_AT, at_ms_of, order_of
from runbake.tracking.run import (
    DatasetInput,
    Metric,
    NotedPromotion,
    PromotedFacts,
    PromotedSummary,
    RunFacts,
)

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput as MlflowDatasetInput
    from mlflow.entities import Run

SOURCE_TAGS = (
    "mlflow.source.git.branch",
    "mlflow.source.git.commit",
    "mlflow.source.git.dirty",
    "mlflow.source.git.repoURL",
    "mlflow.source.name",
    "mlflow.source.type",
)
_CONTEXT = "mlflow.data.context"


def facts_of(door: Door, run: Run, experiment_name: str) -> RunFacts:
    """What the run says of itself, as of its end."""
    return RunFacts(
        run_id=str(run.info.run_id),
        run_name=str(run.info.run_name or ""),
        experiment_id=str(run.info.experiment_id),
        experiment_name=experiment_name,
        user=user_of(run),
        start_time_ms=int(run.info.start_time or 0),
        end_time_ms=int(run.info.end_time or 0),
        params=params_of(run),
        metrics=metrics_of(door, run),
        source_tags=source_tags_of(run),
        datasets=datasets_of(run),
    )


def params_of(run: Run) -> tuple[tuple[str, str], ...]:
    """The parameters, sorted by name."""
    return tuple(sorted((str(key), str(value)) for key, value in run.data.params.items()))


def user_of(run: Run) -> str:
    """Who started the run, as MLflow was told."""
    return str(run.data.tags.get("mlflow.user") or run.info.user_id or "")


def source_tags_of(run: Run) -> tuple[tuple[str, str], ...]:
    """The allow-listed `mlflow.source.*` tags, sorted; a token in the repository's URL becomes `***`."""
    tags = run.data.tags
    return tuple((key, redacted(str(tags[key]))) for key in SOURCE_TAGS if key in tags)


def metrics_of(door: Door, run: Run) -> tuple[Metric, ...]:
    """The last value of each metric as of the run's end, sorted by name.

    A metric logged only later (an evaluation, say) is left out: it was not fixed when the run ended. A run
    that goes on has those that it has.
    """
    end_ms = run.info.end_time
    found: list[Metric] = []
    for latest in run.data.to_proto().metrics:
        if end_ms is None or latest.timestamp <= end_ms:
            found.append(_metric(latest.key, latest.value, latest.step, latest.timestamp))
        else:
            found.extend(_as_of(door, run.info.run_id, latest.key, int(end_ms)))
    return tuple(sorted(found, key=lambda metric: metric.name))


def _as_of(door: Door, run_id: str, key: str, end_ms: int) -> tuple[Metric, ...]:
    with door.translated(f"history of metric {key!r} of run {run_id}"):
        history = door.client().get_metric_history(run_id, key)
    earlier = [point for point in history if point.timestamp <= end_ms]
    if not earlier:
        return ()
    # MLflow's own rule for "latest"; see sqlalchemy_store.py, `_log_metrics`.
    last = max(earlier, key=lambda point: (point.step, point.timestamp, point.value))
    return (_metric(last.key, last.value, last.step, last.timestamp),)


def _metric(name: str, value: float, step: int, timestamp_ms: int) -> Metric:
    return Metric(name=str(name), value=float(value), step=int(step), timestamp_ms=int(timestamp_ms))


def datasets_of(run: Run) -> tuple[DatasetInput, ...]:
    """The datasets the run logged, sorted by context, name and digest; URLs without credentials."""
    inputs = run.inputs.dataset_inputs if run.inputs is not None else ()
    return tuple(
        sorted((_dataset(each) for each in inputs), key=lambda d: (d.context, d.name, d.digest, d.source))
    )


def _dataset(given: MlflowDatasetInput) -> DatasetInput:
    dataset = given.dataset
    contexts = [tag.value for tag in given.tags if tag.key == _CONTEXT]
    return DatasetInput(
        name=str(dataset.name or ""),
        digest=str(dataset.digest or ""),
        source_type=str(dataset.source_type or ""),
        source=redacted(str(dataset.source or "")),
        schema=str(dataset.schema or ""),
        profile=str(dataset.profile or ""),
        context=str(contexts[0]) if contexts else "",
    )


def summary_of(run: Run, experiment_name: str) -> PromotedSummary:
    """One line about a run."""
    return PromotedSummary(
        run_id=str(run.info.run_id),
        run_name=str(run.info.run_name or ""),
        experiment_id=str(run.info.experiment_id),
        experiment_name=experiment_name,
        user=user_of(run),
        status=str(run.info.status),
        promoted_at_ms=at_ms_of(run.data.tags.get(PROMOTED_AT, "")),
        end_time_ms=int(run.info.end_time or 0),
    )


def newest_first(summary: PromotedSummary) -> tuple[int, str]:
    """A sort key: the time `--experiment` would compare, then the run id, so that the order is total."""
    at_ms = summary.promoted_at_ms if summary.promoted_at_ms is not None else summary.end_time_ms
    return (-at_ms, summary.run_id)


def small_artifact(door: Door, root: str, path: str) -> str | None:
    """The text of one artifact, what is no UTF-8 in it replaced; None where it is not listed."""
    directory, _, name = path.rpartition("/")
    store = store_at(door, root)
    if not any(entry.name == name and not entry.is_directory for entry in store.list_directory(directory)):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "artifact"
        store.fetch(path, target, lambda _arrived: None)
        return target.read_text(encoding="utf-8", errors="replace")


def noted(run: Run, of: str, note: str) -> NotedPromotion:
    """The run as those see it who watch for promotions and keep the tag `note`."""
    tags = run.data.tags
    return NotedPromotion(
        run_id=str(run.info.run_id),
        of=str(of),
        at_ms=order_of(tags, int(run.info.end_time or 0))[0],
        mark=str(tags.get(PROMOTED_AT, "")),
        note=str(tags.get(note, "")),
    )


def promoted_facts(run: Run, tag: tuple[str, str]) -> PromotedFacts:
    """The run in a few words, as promoted by this tag."""
    return PromotedFacts(
        run_id=str(run.info.run_id),
        artifact_uri=redacted(str(run.info.artifact_uri or "")),
        user=user_of(run),
        start_time_ms=int(run.info.start_time or 0),
        at_ms=order_of(run.data.tags, int(run.info.end_time or 0))[0],
        tags=(tag,),
    )
