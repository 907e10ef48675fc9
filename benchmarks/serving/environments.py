"""A virtual environment for each server, kept in the benchmark's cache under what is in it."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

from benchmarks.commands import timed
from benchmarks.parts import ROOT
from benchmarks.serving.models import requirements

_PYTHON = Path(sys.executable).resolve()
_CONTRACT = runpy.run_path(str(ROOT / "serving_template" / "runbake_serving" / "contract.py"))
_BESIDE_A_MODEL = [line for line in requirements() if not line.startswith("mlflow==")]

WANTED: Mapping[str, tuple[str, ...]] = {
    "runbake": (
        *_CONTRACT["RUNTIME_REQUIREMENTS"],
        *_CONTRACT["ADDITIONS"]["arrow"],
        f"mlflow-skinny=={version('mlflow')}",
        *_BESIDE_A_MODEL,
    ),
    "fasttext": (
        *_CONTRACT["RUNTIME_REQUIREMENTS"],
        *_CONTRACT["ADDITIONS"]["arrow"],
        "fasttext-predict",
    ),
    "limit": ("fastapi", "uvicorn", "httptools", "uvloop"),
    "mlflow": tuple(requirements()),
    "mlserver": ("mlserver", "mlserver-mlflow", *requirements()),
    "bentoml": ("bentoml", *_BESIDE_A_MODEL),
    "litserve": ("litserve", "httptools", "uvloop", *_BESIDE_A_MODEL),
}
_AS_WE_LOCK = ("runbake", "fasttext", "limit", "mlflow")
"""MLServer needs an older FastAPI; the other two get what a user gets today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An interpreter and what it can import, by name."""

    python: Path
    versions: Mapping[str, str]


def environment(name: str, cache: Path) -> Environment:
    """The environment of the server called `name` (a key of `WANTED`), made when it is not there.

    Raises:
        CommandFailed: it cannot be installed; the message has uv's words.
    """
    locked = ROOT / "requirements-dev.txt"
    pins = locked.read_bytes() if name in _AS_WE_LOCK else b""
    key = hashlib.sha256(repr((WANTED[name], pins, _PYTHON)).encode()).hexdigest()[:12]
    directory = cache / f"{name}-{key}"
    done = directory / "done"
    if not done.exists():
        for other in cache.glob(f"{name}-*"):
            shutil.rmtree(other)
        python = directory / "bin" / "python"
        timed([find_uv_bin(), "venv", "-q", "--python", _PYTHON, directory])
        constraint = ("-c", _without_hashes(locked, directory)) if name in _AS_WE_LOCK else ()
        install = (find_uv_bin(), "pip", "install", "-q", "--compile-bytecode", "--python", python)
        timed([*install, *constraint, *WANTED[name]], environment=os.environ)
        done.touch()
    return Environment(python=directory / "bin" / "python", versions=_versions(directory))


def _without_hashes(locked: Path, directory: Path) -> Path:
    pins = [line.removesuffix(" \\") for line in locked.read_text().splitlines() if "==" in line[:60]]
    file = directory / "constraints.txt"
    file.write_text("\n".join(pin for pin in pins if not pin.startswith((" ", "#"))) + "\n")
    return file


def _versions(directory: Path) -> dict[str, str]:
    script = "import importlib.metadata as m\nfor d in m.distributions(): print(d.name.lower(), d.version)"
    told = timed([directory / "bin" / "python", "-c", script]).stdout.split("\n")
    return dict(line.split(" ", 1) for line in told if line)
