"""Spark MLlib from `log_model` to answers online and in batch, by a real image on a Java from a wheel."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.models.containers import Container

from lab.engine import engine
from lab.environments import spark_python
from runbake_serving import contract
from tests.e2e.test_release import served
from tests.e2e.world import ROOT, World

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DEADLINE_S = 120
KILL = """
for each in /proc/[0-9]*; do
    read -r name < $each/comm
    [ "$name" != java ] || kill -9 ${each#/proc/}
done
"""


@pytest.fixture(scope="module")
def wheels() -> tuple[Path, Path]:
    """An interpreter with Spark, and a directory with its wheel; kept between test runs."""
    return spark_python(Path(tempfile.gettempdir()) / "runbake-tests")


@pytest.fixture(scope="module")
def logged(world: World, wheels: tuple[Path, Path]) -> dict[str, Any]:
    """The run, the rows that it is asked, and MLflow's own answer."""
    done = subprocess.run(
        [wheels[0], ROOT / "tests" / "e2e" / "train_spark.py", world.mlflow_uri],
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def image(world: World, wheels: tuple[Path, Path], logged: dict[str, Any]) -> str:
    """The proven image by digest: without a network, read-only, and a /tmp in which nothing is executed."""
    said = world.done(
        "containerize", logged["run"], "--repository", f"{world.registry}/spark",
        env={"UV_FIND_LINKS": str(wheels[1])},
    )  # fmt: skip
    assert [proof["kind"] for proof in world.report()["proofs"]] == ["example"]
    return said.out.strip()


def container_of(run: str) -> Container:
    """The one that serves the run's image."""
    (found,) = engine().containers.list(filters={"label": f"{contract.LABEL_RUN_ID}={run}"})
    return found


def tensors_of(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The same rows as columns of the Open Inference Protocol."""
    return [
        {
            "name": name,
            "shape": [len(rows["data"])],
            "datatype": "BYTES" if name == "kind" else "FP64",
            "data": [row[place] for row in rows["data"]],
        }
        for place, name in enumerate(rows["columns"])
    ]


def test_online_answers_are_mlflows_and_a_dead_java_is_replaced(
    world: World, logged: dict[str, Any], image: str
) -> None:
    """Both protocols; and after the Java process was killed another worker starts another one."""
    wanted = pytest.approx(logged["answer"], rel=1e-9)
    with served(world, image) as address:
        body = {"dataframe_split": logged["rows"]}
        answer = requests.post(f"{address}/invocations", json=body, timeout=DEADLINE_S)
        assert answer.json()["predictions"] == wanted

        asked = {"inputs": tensors_of(logged["rows"])}
        inferred = requests.post(f"{address}/v2/models/model/infer", json=asked, timeout=DEADLINE_S)
        assert inferred.status_code == 200, inferred.text
        assert inferred.json()["outputs"][0]["data"] == wanted

        container = container_of(logged["run"])
        assert container.exec_run(["sh", "-c", KILL]).exit_code == 0
        give_up_at = time.monotonic() + DEADLINE_S
        while "a process of the model's has ended" not in container.logs().decode():
            assert time.monotonic() < give_up_at, container.logs().decode()
            time.sleep(0.1)
        again = requests.post(f"{address}/invocations", json=body, timeout=DEADLINE_S)
        assert again.json()["predictions"] == wanted


def test_batch_answers_are_mlflows(world: World, logged: dict[str, Any], image: str, tmp_path: Path) -> None:
    """The same image in batch, each row once and in order."""
    columns, rows = logged["rows"]["columns"], logged["rows"]["data"]
    lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
    (tmp_path / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
    tmp_path.chmod(0o777)
    world.done(
        "batch", "run", image, "--input", str(tmp_path / "in.jsonl"),
        "--output", str(tmp_path / "out"), "--output-format", "jsonl",
    )  # fmt: skip
    written = (tmp_path / "out" / "part-00000.jsonl").read_text().splitlines()
    answers = [value for line in written for value in json.loads(line).values()]
    assert answers == pytest.approx(logged["answer"], rel=1e-9)


def test_without_a_wheel_the_way_to_make_one_is_told(world: World, logged: dict[str, Any]) -> None:
    """The index has pyspark's sources only: nothing is pushed, and the hint says what to do."""
    said = world.run(
        "containerize", logged["run"], "--relock", "--repository", f"{world.registry}/spark-none"
    )
    assert said.status != 0
    assert "pyspark" in said.err
    assert "pip wheel" in said.err
    assert world.tags("spark-none") == ()
