"""`evaluate` with real images: the gates that hold, the slice that collapses, and what it cannot do."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import requests

from runbake.tracking import Tracking
from tests.e2e.train import wines
from tests.e2e.world import ROOT, World
from tests.integration.attestation.keys import KeyPair, key_pair

pytestmark = pytest.mark.engine


def test_a_model_is_evaluated_without_a_baseline(world: World, wine_image: str, tmp_path: Path) -> None:
    """Gates by flag and by file are decided, every report is written, metrics reach the run."""
    wines().to_csv(tmp_path / "wine.csv", index=False)
    gate = '{metric = "accuracy", worse-by-at-most = 0}'
    (tmp_path / "runbake.toml").write_text(f"[evaluate]\ngate = [{gate}]\n")
    arguments = ("evaluate", wine_image, "--data", "wine.csv", "--target", "cultivar", "--baseline", "none")
    keys = key_pair(tmp_path)
    reports = (
        "--html",
        "e.html",
        "--junit",
        "e.xml",
        "--record",
        "--attach",
        "--sign-key",
        str(keys.private),
    )
    said = world.done(*arguments, *reports, cwd=tmp_path)

    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert (document["verdict"], document["kind"]) == ("passed", "multiclass")
    assert document["testSet"]["evaluated"] == 178
    assert document["gates"][0]["outcome"] == "no baseline"
    assert sum(map(sum, document["confusion"][0])) == 178
    assert "# Evaluation: passed" in said.out
    assert ET.parse(tmp_path / "e.xml").getroot().get("skipped") == "1"  # noqa: S314
    assert "<h2>Confusion</h2>" in (tmp_path / "e.html").read_text()
    accuracy = next(one["candidate"]["value"] for one in document["metrics"] if one["name"] == "accuracy")
    url = f"{world.mlflow_uri}/api/2.0/mlflow/runs/get"
    answer = requests.get(url, params={"run_id": document["candidate"]["run"]}, timeout=30).json()
    metrics = {one["key"]: one["value"] for one in answer["run"]["data"]["metrics"]}
    assert metrics["runbake.accuracy"] == accuracy
    statements = json.loads(world.done("verify", wine_image, "--json").out)
    assert "evaluation" in json.dumps(statements)
    assert _admitted(world, wine_image, keys) == "ok"

    strict = world.run(*arguments, "--gate", "metric=accuracy,at-least=1.01", cwd=tmp_path)
    assert strict.status == 101
    assert "limit 1.01" in strict.err
    vague = world.run(*arguments, "--gate", "metric=accuracy,at-least=0.5,min-rows=179", cwd=tmp_path)
    assert vague.status == 102
    signed = ("--attach", "--sign-key", str(keys.private))
    assert (
        world.run(*arguments, "--gate", "metric=accuracy,at-least=1.01", *signed, cwd=tmp_path).status == 101
    )
    assert _admitted(world, wine_image, keys) == "REFUSED"


def _admitted(world: World, image: str, keys: KeyPair) -> str:
    found = world.run("verify", image, "--key", str(keys.public), "--require-evaluation", "--json")
    (check,) = [one for one in json.loads(found.out)["checks"] if one["what"] == "evaluation"]
    return str(check["outcome"])


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (("--target", "grape"), 100, "grape"),
        (("--kind", "regression"), 100, "numbers"),
        (("--gate", "metric=accuracy,atleast=1"), 3, "atleast is unknown"),
        (("--data", "none.csv"), 3, "there is no input"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    world: World, wine_image: str, tmp_path: Path, change: tuple[str, str], status: int, said: str
) -> None:
    """Each with its own words and status; the report tells the next stage."""
    wines().to_csv(tmp_path / "wine.csv", index=False)
    usual = {"--data": "wine.csv", "--target": "cultivar", "--baseline": "none"} | dict([change])
    options = [part for pair in usual.items() for part in pair]
    found = world.run("evaluate", wine_image, *options, cwd=tmp_path)

    assert found.status == status, found.err
    assert said in found.err
    assert "Traceback" not in found.err


@pytest.mark.slow
def test_a_gate_catches_the_slice_that_collapses(world: World, tmp_path: Path) -> None:
    """The whole gets better and one slice worse: no gate on the whole sees it, one on slices does."""
    wanted = json.dumps({"uri": world.mlflow_uri, "directory": str(tmp_path)})
    command = [sys.executable, "-m", "tests.e2e.train_cancer", wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    runs = json.loads(done.stdout.splitlines()[-1])
    for name in ("weak", "uneven", "straight"):
        repository = f"{world.registry}/tumours"
        world.done("containerize", runs[name], "--repository", repository, "--no-prove", "--allow-unproven")
    whole, slices = (
        ("--gate", "metric=accuracy,worse-by-at-most=0,on=interval"),
        ("--gate", "metric=accuracy,worse-by-at-most=0.02,slices=true"),
    )
    for name, gates, status in (
        ("uneven", whole, 0),
        ("uneven", (*whole, *slices), 101),
        ("straight", (*whole, *slices), 0),
    ):
        found = world.run(
            *("evaluate", runs[name], "--data", "tumours.csv", "--target", "diagnosis"),
            *("--baseline", runs["weak"], *gates),
            cwd=tmp_path,
        )
        assert found.status == status, found.out + found.err
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["baseline"]["run"] == runs["weak"]
    assert document["churn"]["fixed"] > document["churn"]["broken"]

    # The run logged its test set, which is read from where the user allows.
    before = world.done("evaluate", runs["straight"], "--data-from", str(tmp_path), cwd=tmp_path)
    assert runs["uneven"] in before.out
    told = json.loads((tmp_path / "evaluation.json").read_text())["testSet"]
    assert (told["uri"], told["targets"]) == (str(tmp_path / "tumours.csv"), ["diagnosis"])
    elsewhere = world.run("evaluate", runs["straight"], "--data-from", "/srv", cwd=tmp_path)
    assert elsewhere.status == 100
    assert "below nothing that --data-from allows" in elsewhere.err

    # What was promoted before and cannot be asked lets nothing pass that was to be compared with it.
    Tracking(world.mlflow_uri).record_image(runs["uneven"], {"runbake.image": f"{repository}:gone"})
    lost = world.run(
        *("evaluate", runs["straight"], "--data", "tumours.csv", "--target", "diagnosis", *whole),
        cwd=tmp_path,
    )
    assert lost.status == 102, lost.out + lost.err
    assert runs["uneven"] in lost.err
