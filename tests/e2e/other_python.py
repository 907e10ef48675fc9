"""A training environment with another Python than this machine's: a Debian of the lab, and wheels by uv."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from uv import find_uv_bin

from lab.engine import engine
from lab.source import source_image
from lab.story import Story
from tests.e2e.world import PROMOTED, ROOT

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas")
_GLIBC = "2_36"


def train_with(python: str, uri: str, directory: Path) -> str:
    """Log and promote the wines' classifier by `log_model` of that Python ("3.13"); the run's id."""
    packages = directory / "packages"
    _install(python, packages)
    wanted = {
        "uri": uri,
        "c": 0.5,
        "params": {},
        "requirements": [],
        "example": "good",
        "experiment": "wine",
        "tags": PROMOTED,
    }
    said = engine().containers.run(
        source_image(engine(), python=python, story=Story()),
        ["python3", "-B", "-m", "tests.e2e.train", json.dumps(wanted)],
        remove=True,
        network_mode="host",
        working_dir="/repo",
        environment={"PYTHONPATH": "/packages", "HOME": "/root", "USER": "trainer", "TMPDIR": "/var/tmp"},
        volumes={
            str(packages): {"bind": "/packages", "mode": "ro"},
            str(ROOT / "tests"): {"bind": "/repo/tests", "mode": "ro"},
        },
    )
    return str(said.decode().split()[-1])


def _install(python: str, packages: Path) -> None:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[engine().version()["Arch"]]
    command = (
        find_uv_bin(), "pip", "install", "--quiet", "--target", str(packages), "--python-version", python,
        "--python-platform", f"{machine}-manylinux_{_GLIBC}", "--only-binary", ":all:", *REQUIREMENTS,
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
