"""A real server full of runs, made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.mlflow_server import running_mlflow
from runbake.tracking import Tracking

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server, its directory, and the ids of what the world script logged."""

    uri: str
    directory: Path
    ids: dict[str, str]

    def run(self, name: str) -> str:
        """The id under this name."""
        return self.ids[name]


def log_world(script: str, uri: str, python: Path = Path(sys.executable)) -> dict[str, str]:
    """Run a world script against the server; the ids it printed last."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))}
    done = subprocess.run(
        [str(python), str(HERE / script), uri],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    ids: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return ids


@pytest.fixture(scope="session")
def world_of() -> Callable[[str, str, Path], dict[str, str]]:
    """How a world script is run."""
    return log_world


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
