"""`evaluate RUN` before there is an image: the model beside the wheels of its lock, without an engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.train import wines
from tests.e2e.world import ROOT, Said, World, log_wine
from tests.integration.attestation.keys import key_pair

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wines as a test set."""
    path = tmp_path_factory.mktemp("rows") / "wine.csv"
    wines().to_csv(path, index=False)
    return path


def evaluate(world: World, run: str, rows: Path, *options: str, env: dict[str, str] | None = None) -> Said:
    """Evaluate a run of wines without an engine; reports go beside the rows."""
    return world.run(
        *("evaluate", run, "--data", str(rows), "--target", "cultivar", *options),
        env={**NO_ENGINE, **(env or {})},
        cwd=rows.parent,
    )


def test_a_run_without_an_image_is_asked_beside_its_lock(world: World, rows: Path) -> None:
    """By the base's Python and containerize's wheels, against a run promoted before, without an image too."""
    before = log_wine(world.mlflow_uri, c=0.0001, experiment="wine-locked")
    run = log_wine(world.mlflow_uri, c=0.5, experiment="wine-locked")
    gate = ("--gate", "metric=accuracy,worse-by-at-most=0")
    said = evaluate(world, run, rows, *gate, "--record")

    assert said.status == 0, said.err
    told = json.loads((rows.parent / "evaluation.json").read_text())
    assert (told["candidate"]["run"], told["baseline"]["run"]) == (run, before)
    assert (told["candidate"]["image"], told["baseline"]["image"]) == ("", "")
    assert told["gates"][0]["outcome"] == "passed"
    assert told["testSet"]["evaluated"] == 178
    assert "beside the wheels of its lock" in said.err

    # The image that is made afterwards holds this very lock, and says so in the same label file.
    world.done(
        "containerize", run, "--repository", f"{world.registry}/locked", "--no-prove", "--allow-unproven"
    )
    (platform,) = world.report()["platforms"]
    assert platform["lock"] == told["candidate"]["lock"]
    assert platform["provenance"] == told["candidate"]["provenance"]


def test_without_a_base_a_python_of_this_machine_answers_the_same(world: World, rows: Path) -> None:
    """No registry, no engine, no base image: the lock and this machine's Python."""
    run = log_wine(world.mlflow_uri, experiment="wine-here")
    with_base = evaluate(world, run, rows, "--baseline", "none")
    assert with_base.status == 0, with_base.err
    expected = json.loads((rows.parent / "evaluation.json").read_text())
    said = evaluate(world, run, rows, "--baseline", "none", env={"RUNBAKE_BASE": ""})

    assert said.status == 0, said.err
    told = json.loads((rows.parent / "evaluation.json").read_text())
    assert told["metrics"] == expected["metrics"]
    assert told["candidate"]["modelFiles"] == expected["candidate"]["modelFiles"]


def test_a_model_sees_nothing_of_runbake_s_environment(world: World, tmp_path: Path) -> None:
    """Neither variables nor the user's home nor packages beside the lock reach the model's process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.train_spy", world.mlflow_uri],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = done.stdout.split()[-1]
    (tmp_path / "rows.csv").write_text("x,y\n" + "1,1\n" * 40)
    said = world.run(
        *(
            "evaluate",
            run,
            "--data",
            "rows.csv",
            "--target",
            "y",
            "--baseline",
            "none",
            "--kind",
            "multiclass",
        ),
        env={**NO_ENGINE, "AWS_SECRET_ACCESS_KEY": "very-secret", "SPIED": "yes", "HOME": str(tmp_path)},
        cwd=tmp_path,
    )

    assert said.status == 0, said.err
    told = json.loads((tmp_path / "evaluation.json").read_text())
    # The model answers 1 where it finds nothing, else what it found.
    assert told["classes"] == ["1"], told["classes"]


def test_a_python_that_is_nowhere_is_said(world: World, rows: Path, odd_runs: dict[str, str]) -> None:
    """What to do stands in the message."""
    said = evaluate(world, odd_runs["other-python"], rows, env={"RUNBAKE_BASE": ""})

    assert said.status == 42, said.err
    assert "Python 3.14" in said.err
    assert "--base" in said.err


def test_containerize_requires_a_passed_evaluation(world: World, rows: Path, tmp_path: Path) -> None:
    """None, one without gates, a failed one and another model's are refused; a passed one is attached."""
    run = log_wine(world.mlflow_uri, experiment="wine-required")
    plain = world.done("containerize", run, "--output", str(tmp_path / "plain.oci"), "--no-prove").out.strip()
    build = ("containerize", run, "--repository", f"{world.registry}/required")
    build = (*build, "--no-prove", "--allow-unproven", "--require-evaluation")
    measure = (world, run, rows, "--baseline", "none", "--record")
    good, bad = ("metric=accuracy,at-least=0.9", "metric=accuracy,at-least=1.01")
    for options, status, said in (
        (None, 0, "no evaluation is about these files"),
        ((), 0, "has no gates"),
        (("--gate", bad), 101, "says failed"),
        (("--gate", f"{good},min-rows=999"), 102, "says undecidable"),
    ):
        if options is not None:
            assert evaluate(*measure, *options).status == status
        refused = world.run(*build)
        assert (refused.status, said in refused.err) == (103, True), refused.err
    assert world.tags("required") == ()

    done = evaluate(*measure, "--gate", good)
    assert done.status == 0, done.err
    image = world.done(*build).out.strip()
    assert image.endswith(plain), "evaluating must not change the digest"
    told = json.loads(world.done("verify", image, "--json").out)
    assert [each["what"] for each in told["checks"]].count("evaluation") == 0
    assert "evaluation/v1" in json.dumps(told)

    # What lay on the run is attached unsigned, whoever signs the rest; a file that is named is signed.
    keys = key_pair(tmp_path)
    world.done(*build, "--sign-key", str(keys.private))
    required = ("verify", image, "--key", str(keys.public), "--require-evaluation")
    assert world.run(*required).status == 83
    world.done(*build, "--sign-key", str(keys.private), "--evaluation", str(rows.parent / "evaluation.json"))
    assert "passed its gates" in world.done(*required).out

    other = log_wine(world.mlflow_uri, c=0.01, experiment="wine-other")
    strange = world.run(
        *("containerize", other, "--repository", f"{world.registry}/other", "--no-prove", "--allow-unproven"),
        *("--evaluation", str(rows.parent / "evaluation.json")),
    )
    assert strange.status == 103
    assert "about other model files" in strange.err
