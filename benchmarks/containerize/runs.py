"""Runs as a data scientist logs them: a scikit-learn classifier, small or with many megabytes of weights."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.commands import timed
from benchmarks.parts import Parts

_NAMES = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "cloudpickle")
_SIDE = 4
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A run, and its model's files where the MLflow server keeps them; `weights` is the largest of them."""

    run_id: str
    model: Path
    weights: Path


def requirements(**other: str) -> list[str]:
    """What the models ask for, exact, as MLflow would record it; `other` adds or replaces versions."""
    pinned = {name: version(name) for name in _NAMES} | other
    return [f"{name}=={pinned[name]}" for name in sorted(pinned)]


def log(parts: Parts, *, weights_bytes: int = 0, pip_requirements: list[str] | None = None) -> Logged:
    """Train and log once more; `weights_bytes` of noise, which nothing compresses, are pickled with it."""
    mlflow.set_tracking_uri(parts.mlflow)
    mlflow.set_experiment("benchmark")
    rows = np.random.default_rng().normal(size=(40, _SIDE))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    model.noise_ = np.frombuffer(secrets.token_bytes(weights_bytes), dtype=np.uint8)
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="cloudpickle",
            input_example=rows[:2],
            pip_requirements=pip_requirements or requirements(),
        )
    files = parts.artifacts / info.artifact_path.partition("mlflow-artifacts:/")[2]
    return Logged(run_id=run.info.run_id, model=files, weights=files / "model.pkl")


def log_demo(parts: Parts) -> Logged:
    """The run that `make demo` logs, by the demo's own script."""
    script = parts.checkout / "examples" / "train_wine.py"
    done = timed([sys.executable, script], environment={**os.environ, "MLFLOW_TRACKING_URI": parts.mlflow})
    run_id = done.stdout.split()[-1]
    client = mlflow.MlflowClient(tracking_uri=parts.mlflow)
    outputs = client.get_run(run_id).outputs
    assert outputs is not None, "MLflow 3 lists a run's models"
    location = client.get_logged_model(outputs.model_outputs[0].model_id).artifact_location
    files = parts.artifacts / location.partition("mlflow-artifacts:/")[2]
    return Logged(
        run_id=run_id, model=files, weights=max(files.iterdir(), key=lambda path: path.stat().st_size)
    )


def enlarge(logged: Logged, size_bytes: int) -> None:
    """Put a file of noise beside the model, straight into the server's directory: HTTP would take minutes."""
    with Path("/dev/urandom").open("rb") as noise, (logged.model / "weights.bin").open("wb") as out:
        left = size_bytes
        while left:
            left -= out.write(noise.read(min(left, _BLOCK_BYTES)))
