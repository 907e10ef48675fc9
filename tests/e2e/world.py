"""A small world for end-to-end tests: registry, MLflow server, base image, trained runs, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runbake.registry import CredentialSource, Registry

ROOT = Path(__file__).parents[2]
PROMOTED = {"promote": "true"}


@dataclass(frozen=True)
class Said:
    """What the command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class World:
    """Everything that a release needs, running on this machine."""

    registry: str
    mlflow_uri: str
    base: str
    directory: Path
    models: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the command: this process's, with this world's addresses."""
        return {
            **os.environ,
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            "RUNBAKE_BASE": self.base,
            "RUNBAKE_CACHE": str(self.directory / "cache"),
            "DOCKER_CONFIG": str(self.directory / "docker"),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "builder"), str(ROOT / "serving_template"))),
            "NO_COLOR": "1",
        }

    def popen(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, "-m", "runbake", *arguments],
            env={**self.environment, **(env or {})},
            cwd=cwd or self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Said:
        """Run the command to its end."""
        with self.popen(*arguments, env=env, cwd=cwd) as process:
            out, err = process.communicate(timeout=280)
        return Said(status=process.returncode, out=out, err=err)

    def done(self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Said:
        """Run the command; anything but success fails the test with what was said."""
        said = self.run(*arguments, env=env, cwd=cwd)
        assert said.status == 0, f"{arguments} ended with {said.status}:\n{said.err}{said.out}"
        return said

    def report(self) -> dict[str, Any]:
        """The last image.json."""
        document: dict[str, Any] = json.loads((self.directory / "image.json").read_text())
        return document

    def client(self) -> Registry:
        """A registry client without credentials."""
        return Registry(self.registry, credentials=CredentialSource(self.directory / "none.json"))

    def tags(self, name: str) -> tuple[str, ...]:
        """The tags of a repository; those under which it keeps referrers are none that anybody set."""
        return tuple(tag for tag in self.client().list_tags(name) if not tag.startswith("sha256-"))


def log_wine(
    uri: str,
    *,
    promoted: bool = True,
    tags: Mapping[str, str] | None = None,
    c: float = 0.5,
    example: Literal["good", "bad", "none"] = "good",
    experiment: str = "wine",
    requirements: tuple[str, ...] = (),
    **params: str,
) -> str:
    """Train and log a classifier of wines in a process of its own; its run id."""
    wanted = {
        "uri": uri,
        "c": c,
        "params": params,
        "example": example,
        "experiment": experiment,
        "requirements": requirements,
        "tags": {**(PROMOTED if promoted else {}), **(tags or {})},
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.train", json.dumps(wanted)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def log_odd_runs(uri: str, directory: Path) -> dict[str, str]:
    """Log what `odd_runs.py` logs, in a process of its own; run ids by name."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.odd_runs", uri, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return ids


def log_fasttext(world: World, directory: Path) -> dict[str, Any]:
    """Log what `train_fasttext.py` logs, in a process of its own; by name, its run and MLflow's answer."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.train_fasttext", world.mlflow_uri, str(directory)],
        cwd=ROOT,
        env=world.environment | {"PYTHONPATH": f"{ROOT}:{world.environment['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
