"""A real server full of runs, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.mlflow_server import running_mlflow
from runbake.tracking import Tracking
from tests.integration.tracking.world import World, log_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An MLflow 3 server with everything that `world_mlflow3.py` logs."""
    directory = tmp_path_factory.mktemp("tracking-world")
    with running_mlflow(directory, deadline_s=90) as uri:
        yield World(uri=uri, directory=directory, ids=log_world("world_mlflow3.py", uri))


@pytest.fixture
def tracking(world: World) -> Tracking:
    """The door to that server."""
    return Tracking(world.uri)
