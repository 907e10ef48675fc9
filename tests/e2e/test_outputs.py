"""Files in place of a push, a rendered context, and a report: proved, whole, or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.engine import engine
from runbake.errors import ConfigError, ProofFailed
from runbake.runtime.engine import PROOF_REPOSITORY
from runbake_serving import contract
from tests.e2e.world import World, log_wine


def kept_for_proofs(run: str) -> list[str]:
    """The proofs' tags on images of one run; other tests prove images of theirs meanwhile."""
    images = engine().images.list(filters={"label": f"{contract.LABEL_RUN_ID}={run}"})
    return [tag for image in images for tag in image.tags if tag.startswith(PROOF_REPOSITORY)]


@pytest.mark.engine
@pytest.mark.parametrize("output", ["layout", "image.tar"])
def test_files_are_proved(world: World, wine_run: str, tmp_path: Path, output: str) -> None:
    """The engine loads what was written, it answers as MLflow does, and nothing of it stays there."""
    world.done("containerize", wine_run, "--output", str(tmp_path / output))

    report = world.report()
    assert [proof["image"] for proof in report["proofs"]] == [report["platforms"][0]["digest"]]
    assert report["proofs"][0]["kind"] == "example"
    assert os.listdir(tmp_path) == [output]
    assert kept_for_proofs(wine_run) == []


@pytest.mark.engine
def test_files_of_a_failed_proof_never_get_their_name(world: World, tmp_path: Path) -> None:
    """The run's example lacks every column: exit status 62, and neither a layout nor an archive is there."""
    run = log_wine(world.mlflow_uri, example="bad")
    outputs = [f"--output={tmp_path / name}" for name in ("layout", "image.tar")]
    said = world.run("containerize", run, *outputs)

    assert said.status == ProofFailed.exit_code, said.err
    assert list(tmp_path.iterdir()) == []


def test_files_without_an_engine_are_unproven(world: World, wine_run: str, tmp_path: Path) -> None:
    """Said as a warning: a file is no tag, and it can be proved where there is an engine."""
    nobody = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
    said = world.done("containerize", wine_run, "--output", str(tmp_path / "layout"), env=nobody)

    assert "linux/amd64 is unproven: no container engine answers" in said.err
    assert world.report()["proofs"] == []
    assert (tmp_path / "layout" / "index.json").is_file()


@pytest.mark.parametrize("output", ["home", "home.tar", "file"])
def test_an_output_that_cannot_be_is_refused_before_the_work(
    world: World, tmp_path: Path, output: str
) -> None:
    """A directory of other things, a directory as archive, a file as layout; MLflow is not even asked."""
    for name in ("home", "home.tar"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    said = world.run("containerize", "0" * 32, "--output", str(tmp_path / output), env=nobody)

    assert said.status == ConfigError.exit_code, said.err
    assert output in said.err


def test_a_context_that_fails_half_way_is_not_there(world: World, wine_run: str, tmp_path: Path) -> None:
    """Where no directory can be: exit status 3, and nothing is left beside it."""
    (tmp_path / "file").write_text("mine")
    said = world.run("render", wine_run, str(tmp_path / "file" / "context"))

    assert said.status == ConfigError.exit_code, said.err
    assert "file/context" in said.err
    assert os.listdir(tmp_path) == ["file"]
