"""fastText from `log_model` to online answers, by real images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.test_release import served
from tests.e2e.train_fasttext import TEXTS
from tests.e2e.world import ROOT, World, log_fasttext


@pytest.fixture(scope="module")
def logged(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs by name, with MLflow's own answers."""
    return log_fasttext(world, tmp_path_factory.mktemp("fasttext"))


@pytest.mark.engine
@pytest.mark.parametrize("name", ["classifier", "adopted", "vectors"])
def test_an_image_answers_what_mlflow_answers(world: World, logged: dict[str, Any], name: str) -> None:
    """A classifier, a bare file of an older run, and an embedding: proven, and equal to the last bit."""
    run = logged[name]
    said = world.done("containerize", run["run"], "--repository", f"{world.registry}/{name}")
    body = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}}

    assert "prove" in said.err
    with served(world, said.out.strip()) as address:
        answer = requests.post(f"{address}/invocations", json=body, timeout=60)
    assert (answer.status_code, answer.json()["predictions"]) == (200, run["answer"])


@pytest.mark.engine
def test_a_damaged_model_is_refused_before_anything_is_pushed(world: World, tmp_path: Path) -> None:
    """A file that was cut off after it was logged is named, and the repository stays empty."""
    script = (
        "import sys, mlflow; from pathlib import Path; from runbake.flavors import fasttext\n"
        "from tests.integration.flavors.fasttext_models import main\n"
        "root = Path(sys.argv[2]); main(root); fasttext.save_model(root / 'classifier.bin', root / 'm')\n"
        "path = root / 'm' / 'model.bin'; path.write_bytes(path.read_bytes()[:5000])\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "with mlflow.start_run(tags={'promote': 'true'}) as run:\n"
        "    mlflow.log_artifacts(str(root / 'm'), 'model')\n"
        "print(run.info.run_id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, world.mlflow_uri, str(tmp_path)],
        cwd=ROOT,
        env=world.environment | {"PYTHONPATH": f"{ROOT}:{world.environment['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = world.run("containerize", done.stdout.split()[-1], "--repository", f"{world.registry}/damaged")

    assert (said.status, said.out) == (15, "")
    assert "model.bin is damaged: the input matrix needs" in said.err
