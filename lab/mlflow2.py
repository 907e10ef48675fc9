"""An environment of its own for MLflow 2, whose server and client the tests put beside MLflow 3."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

# SQLAlchemy 2.1 dropped a name that MLflow 2.22 imports; it says only <3 itself.
REQUIREMENTS = ("mlflow==2.22.*", "scikit-learn", "sqlalchemy<2.1")
_READY = ".ready"
_DEADLINE_S = 600


def mlflow2_python(directory: Path) -> Path:
    """The interpreter of a virtual environment with MLflow 2.22 and scikit-learn, made once in `directory`.

    A half-made environment (its maker was killed) is made again; of two makers at once one waits.

    Raises:
        RuntimeError: uv failed; the message ends with its output.
    """
    # Other requirements or another Python are another environment.
    wanted = hashlib.sha256(repr((REQUIREMENTS, sys.version)).encode()).hexdigest()
    venv = directory / f"mlflow-2.22-{wanted[:8]}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / _READY).exists():
            _create(venv)
    return venv / "bin" / "python"


def _create(venv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(venv))
    # MLflow 2 wants setuptools for `pkg_resources` in some of its imports.
    _uv("pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), *REQUIREMENTS, "setuptools<81")
    (venv / _READY).touch()


def _uv(*arguments: str) -> None:
    done = subprocess.run(
        [find_uv_bin(), *arguments], capture_output=True, text=True, timeout=_DEADLINE_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"uv {' '.join(arguments[:2])} failed ({done.returncode}):\n{done.stderr[-4000:]}")
