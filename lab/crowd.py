"""Many experiments and runs in the database of a lab MLflow, written at once: over HTTP they take an hour."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_STARTED_MS = 1_700_000_000_000
_RUN_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Experiments `first_id`, `first_id + 1`, … called `PREFIX-0`, `PREFIX-1`, …, each with finished runs.

    The first `promoted` runs of each have the promotion tag; MLflow lists runs from the latest to the first.
    """

    prefix: str
    first_id: int
    experiments: int
    runs: int
    promoted: int

    def run_id(self, experiment: int, run: int) -> str:
        """The id of a run, by the numbers of its experiment and of itself, both from 0."""
        return f"{self.first_id + experiment:012x}{run:020x}"


def add_crowd(database: Path, crowd: Crowd) -> None:
    """Write the crowd into the database that `running_mlflow` keeps as `mlflow.db`, in one transaction."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.executemany(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time,"
            " last_update_time) VALUES (?, ?, ?, 'active', ?, ?)",
            _experiments(crowd),
        )
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,"
            " start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'UNKNOWN', '', '', 'ada', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            _runs(crowd),
        )
        connection.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", _tags(crowd))


def _experiments(crowd: Crowd) -> Iterator[tuple[object, ...]]:
    for number in range(crowd.experiments):
        id_ = crowd.first_id + number
        yield id_, f"{crowd.prefix}-{number}", f"mlflow-artifacts:/{id_}", _STARTED_MS, _STARTED_MS


def _runs(crowd: Crowd) -> Iterator[tuple[object, ...]]:
    for experiment in range(crowd.experiments):
        for run in range(crowd.runs):
            id_, place = crowd.run_id(experiment, run), crowd.first_id + experiment
            started = _STARTED_MS + run * _RUN_MS
            uri = f"mlflow-artifacts:/{place}/{id_}/artifacts"
            yield id_, f"run-{run}", started, started + _RUN_MS, uri, place


def _tags(crowd: Crowd) -> Iterator[tuple[str, str, str]]:
    for experiment in range(crowd.experiments):
        for run in range(crowd.runs):
            id_ = crowd.run_id(experiment, run)
            yield "mlflow.runName", f"run-{run}", id_
            yield "mlflow.user", "ada", id_
            if run < crowd.promoted:
                yield "promote", "true", id_
