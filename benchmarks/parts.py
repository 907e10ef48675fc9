"""The real parts under the figures: servers, base, a fresh checkout with its own venv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import docker
from uv import find_uv_bin

from benchmarks.commands import timed
from lab.base import ensure_base
from lab.engine import engine
from lab.mlflow_server import running_mlflow
from lab.registry_server import running_registry

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every figure uses.

    `checkout` is a fresh copy of the last commit, and `python` an interpreter with runbake's own dependencies
    and no others: what a user gets from `pip install runbake`. `artifacts` is the MLflow server's directory.
    """

    work: Path
    registry: str
    mlflow: str
    artifacts: Path
    base: str
    checkout: Path
    python: Path
    engine: docker.DockerClient

    @property
    def environment(self) -> dict[str, str]:
        """For a measured runbake: the user's, with this MLflow server and without a Python path of ours."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RUNBAKE_"))
        }
        return {**kept, "PYTHONPATH": _python_path(self.checkout), "MLFLOW_TRACKING_URI": self.mlflow}


def _python_path(checkout: Path) -> str:
    return f"{checkout / 'builder'}:{checkout / 'serving_template'}"


@contextmanager
def running_parts(directory: Path | None) -> Iterator[Parts]:
    """Start everything under a new directory, and remove it at the end."""
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix="runbake-benchmark-") as name,
        running_registry(Path(name, "registry"), deadline_s=30) as registry,
        running_mlflow(Path(name, "mlflow"), deadline_s=120) as mlflow,
    ):
        work = Path(name)
        work.chmod(0o755)  # figure 6 builds as another user
        os.environ["MLFLOW_TRACKING_URI"] = mlflow
        checkout = fresh_checkout(work / "checkout")
        yield Parts(
            work=work,
            registry=registry,
            mlflow=mlflow,
            artifacts=work / "mlflow" / "artifacts",
            base=ensure_base(f"{registry}/base"),
            checkout=checkout,
            python=venv(work / "venv", Path(sys.executable).resolve(), checkout),
            engine=engine(),
        )


def fresh_checkout(directory: Path) -> Path:
    """The measured commit in a new directory."""
    directory.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit()], cwd=ROOT, check=True, capture_output=True).stdout
    timed(["tar", "x"], cwd=directory, stdin=archive)
    return directory


def venv(directory: Path, python: Path, checkout: Path) -> Path:
    """The interpreter of a venv with what the checkout's pyproject.toml asks for, in the locked versions."""
    uv = find_uv_bin()
    wanted = checkout / "runtime-requirements.txt"
    exported = timed(
        [
            uv,
            "pip",
            "compile",
            "-q",
            "--no-header",
            "-c",
            checkout / "requirements-dev.txt",
            "pyproject.toml",
        ],
        cwd=checkout,
    )
    wanted.write_text(exported.stdout)
    timed([uv, "venv", "-q", "--python", python, directory])
    timed(
        [uv, "pip", "install", "-q", "--compile-bytecode", "--python", directory / "bin/python", "-r", wanted]
    )
    return directory / "bin" / "python"


@cache
def commit() -> str:
    """The measured commit, 12 hex digits: the last one when the benchmark began, whatever comes meanwhile."""
    done = timed(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT)
    return done.stdout.strip()


def free_bytes(parts: Parts) -> int:
    """What the benchmark's device has left."""
    return shutil.disk_usage(parts.work).free
