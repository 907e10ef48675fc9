"""What a world script logged, and how it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server, its directory, and the ids of what the world script logged."""

    uri: str
    directory: Path
    ids: dict[str, str]


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
