"""The image's `batch` command as a process, beside models that MLflow saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    # MLflow warns of its own type hints while it is imported.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401 - saving a model would else import it, and warn

    from tests.integration.serving.models_to_serve import CASES, save

ROOT = Path(__file__).parents[3]
DEADLINE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """`batch` with one model."""

    model: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str | Path) -> list[str]:
        """How it is started."""
        return [sys.executable, "-m", "runbake_serving", "batch", *map(str, arguments)]

    def start(self, *arguments: str | Path, **more: str) -> subprocess.Popen[bytes]:
        """The command under way, in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *arguments: str | Path, **more: str) -> Done:
        """The command to its end."""
        process = self.start(*arguments, **more)
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        return Done(status=process.returncode, stdout=stdout.decode(), stderr=stderr.decode())


@pytest.fixture(scope="session")
def batch_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Batch]:
    """A function from the name of a model to serve to `batch` with it."""

    @cache
    def of(name: str) -> Batch:
        path = tmp_path_factory.mktemp("models") / name
        with warnings.catch_warnings():
            # MLflow catches what it is warned of, and writes a signature of "any".
            warnings.simplefilter("ignore")
            case = CASES[name]()
            save(case, path)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("RUNBAKE_", "AWS_"))
        }
        environment |= {"RUNBAKE_MODEL": str(path), "PYTHONPATH": str(ROOT / "serving_template")}
        if case.trusted_types:
            environment["RUNBAKE_TRUSTED_TYPES"] = ",".join(case.trusted_types)
        return Batch(model=path, environment=environment)

    return of


@pytest.fixture(scope="session")
def iris(batch_of: Callable[[str], Batch]) -> Batch:
    """`batch` with a model of four doubles, of which none may be missing."""
    return batch_of("named_columns")


def manifest(output: Path) -> dict[str, Any]:
    """The manifest in this directory."""
    document: dict[str, Any] = json.loads((output / "_MANIFEST.json").read_bytes())
    return document


def files_of(output: Path) -> dict[str, bytes]:
    """The data and rejects in a directory, which are the same however often a job was killed."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.parent.name not in ("_parts", "_tmp") and path.name[0] != "_"
    }
