"""A real MLflow with promoted runs, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lab.mlflow_server import running_mlflow
from runbake.tracking import RunRef, Tracking


class Promoting:
    """Makes experiments and runs on the server at `uri`."""

    def __init__(self, uri: str, *, database: Path) -> None:
        self.uri, self.database = uri, database
        self.client = MlflowClient(tracking_uri=uri)
        self.tracking = Tracking(uri)

    def experiment(self, name: str) -> str:
        """A new experiment's id."""
        return str(self.client.create_experiment(name))

    def run(self, experiment: str, *, end_ms: int, status: str = "FINISHED", **tags: str) -> str:
        """A run that ended then."""
        run = self.client.create_run(experiment, start_time=end_ms - 1000, tags=tags)
        if status != "RUNNING":
            self.client.set_terminated(run.info.run_id, status=status, end_time=end_ms)
        return str(run.info.run_id)

    def promote(self, run_id: str, *, at_ms: int) -> None:
        """What `runbake promote` does at that moment."""
        self.tracking.promote(RunRef.parse(run_id), now_ms=at_ms)


@pytest.fixture(scope="session")
def promoting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoting]:
    """A real server, and hands that promote."""
    directory = tmp_path_factory.mktemp("gocd-mlflow")
    with running_mlflow(directory, deadline_s=180) as uri:
        yield Promoting(uri, database=directory / "mlflow.db")
