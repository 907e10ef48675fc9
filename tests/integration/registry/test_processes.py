"""Whole processes that push: how much memory they take, and what is left when they are killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry_server import running_registry
from runbake.registry import CredentialSource, Registry
from tests.integration.registry.pushing import NAME, file_blob

ROOT = Path(__file__).parents[3]
DEADLINE_S = 60


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A registry whose data goes when the test ends: it is large."""
    with running_registry(tmp_path / "registry", deadline_s=60) as address:
        yield address
    shutil.rmtree(tmp_path / "registry")


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    """A file of 300 MB, mostly holes."""
    path = tmp_path / "model"
    with path.open("wb") as out:
        out.write(b"model")
        out.truncate(300_000_000)
    yield path
    for left in tmp_path.glob("model*"):
        left.unlink()


def pushing(address: str, model: Path, *stall: str) -> subprocess.Popen[str]:
    """A process that pushes the model."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.registry.pushing", address, str(model), *stall],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/builder:{ROOT}/serving_template", "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_memory_stays_small(address: str, model: Path) -> None:
    """Pushing and fetching 300 MB takes less than 60 MB of memory more than before."""
    with pushing(address, model) as process:
        out, _ = process.communicate(timeout=DEADLINE_S)
    how, grown = out.split()
    assert how == "uploaded"
    assert int(grown) < 60_000_000
    back = Path(f"{model}.back")
    assert file_blob(back).digest == file_blob(model).digest


def test_killed_push_leaves_nothing_and_is_repeated(address: str, model: Path) -> None:
    """A push that is killed in the middle leaves neither tag nor blob, and the next one completes."""
    blob = file_blob(model)
    registry = Registry(address, credentials=CredentialSource(Path("/nonexistent")))
    with pushing(address, model, "stall") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
        process.wait(timeout=DEADLINE_S)
    assert not registry.has_blob(NAME, blob.digest)
    assert registry.list_tags(NAME) == ()
    with pushing(address, model) as again:
        out, _ = again.communicate(timeout=DEADLINE_S)
    assert out.startswith("uploaded")
    assert registry.has_blob(NAME, blob.digest)
    assert registry.list_tags(NAME) == ("tag",)
    registry.close()
