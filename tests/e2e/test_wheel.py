"""The built wheel, installed alone: everything that it needs from this repository is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, World

UV = (sys.executable, "-m", "uv")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of commands of a new environment in which the wheel is installed."""
    directory = tmp_path_factory.mktemp("wheel")
    # The build backend is in the development requirements.
    here = ("--no-build-isolation", "--python", sys.executable)
    _done(*UV, "build", "--wheel", "--quiet", *here, "--out-dir", str(directory), str(ROOT))
    (wheel,) = directory.glob("runbake-*.whl")
    python = directory / "venv" / "bin" / "python"
    _done(*UV, "venv", "--quiet", "--python", sys.executable, str(directory / "venv"))
    _done(*UV, "pip", "install", "--quiet", "--python", str(python), str(wheel))
    return python.parent


def _done(*command: str, environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr}{done.stdout}"
    return done.stdout


@pytest.mark.slow
def test_the_installed_command_renders_an_image(
    world: World, wine_run: str, installed: Path, tmp_path: Path
) -> None:
    """Template, serving runtime and the scripts that are sent elsewhere all come from the wheel."""
    environment = {name: value for name, value in world.environment.items() if name != "PYTHONPATH"}
    environment["PATH"] = os.pathsep.join((str(installed), environment["PATH"]))
    runbake = str(installed / "runbake")

    assert "containerize" in _done(runbake, "--help", environment=environment, cwd=tmp_path)
    _done(runbake, "render", wine_run, str(tmp_path / "context"), environment=environment, cwd=tmp_path)

    world.done("render", wine_run, str(tmp_path / "checkout"))
    assert _files(tmp_path / "context") == _files(tmp_path / "checkout")


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
