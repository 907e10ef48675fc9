"""The image for arm64, made on a host for amd64, and run: the same answers from the same model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

import runbake.environment.bytecode
from lab.base_arm64 import ensure_two_platform_base
from lab.engine import engine
from runbake_serving import contract
from tests.e2e.emulated import Emulated, emulated
from tests.e2e.train import wines
from tests.e2e.train_fasttext import TEXTS
from tests.e2e.world import World, log_fasttext, log_wine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

TOLERANCE = 1e-9
ROWS = 60


def wine_rows() -> dict[str, Any]:
    """Every third wine, so that each kind is among them."""
    table = wines().drop(columns="cultivar").iloc[:: 178 // ROWS]
    return {"dataframe_split": table.to_dict(orient="split", index=False)}


def log_classifier(world: World, directory: Path) -> str:
    """A fastText classifier's run."""
    return str(log_fasttext(world, directory)["classifier"]["run"])


def text_rows() -> dict[str, Any]:
    """Known words, unknown ones, none, and a newline."""
    return {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}}


MODELS: dict[str, tuple[Callable[[World, Path], str], Callable[[], dict[str, Any]]]] = {
    "sklearn": (lambda world, _: log_wine(world.mlflow_uri), wine_rows),
    "fasttext": (log_classifier, text_rows),
}
"""How a model is logged, and what it is asked: a line for each flavor."""

RECOMPILED = """
import json, pathlib, sys
worker, root = {}, pathlib.Path(sys.argv[1])
exec(sys.stdin.read(), worker)
same, other = 0, []
for source in sorted(root.glob("fastapi/**/*.py")) + sorted(root.glob("numpy/lib/*.py")):
    kept = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    if kept.read_bytes() == worker["compiled"](source.read_bytes(), str(source)):
        same += 1
    else:
        other.append(str(source))
print(json.dumps({"machine": __import__("platform").machine(), "same": same, "other": other}))
"""


def answer_on_this_machine(image: str, body: bytes, directory: Path) -> Any:
    """The answer of the engine's own platform, from a container without a network."""
    (directory / "body.json").write_bytes(body)
    client = docker.from_env()
    try:
        said = client.containers.run(
            image, ["predict", "--input", "/body.json"], remove=True, read_only=True, network_mode="none",
            volumes={str(directory / "body.json"): {"bind": "/body.json", "mode": "ro"}},
        )  # fmt: skip
    finally:
        client.close()
    return json.loads(said)


def assert_equal(found: Any, wanted: Any) -> None:
    """Labels are equal; floats within the tolerance."""
    if isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert_equal(found[key], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_equal(one, other)
    else:
        assert found == wanted


def both_platforms(world: World, run: str, name: str) -> str:
    """The index by digest."""
    said = world.done(
        "containerize", run, "--repository", f"{world.registry}/arm-{name}",
        "--base", ensure_two_platform_base(f"{world.registry}/base-index"),
        "--platform", "linux/amd64,linux/arm64", "--allow-unproven",
    )  # fmt: skip
    return said.out.strip()


def assert_bytecode_is_its_own(image: Emulated) -> None:
    """What was compiled by the other platform's Python of the same release is what its own compiles."""
    worker = Path(runbake.environment.bytecode.__file__).with_name("_compile_worker.py").read_bytes()
    said = json.loads(
        image.execute((image.entrypoint[0], "-c", RECOMPILED, contract.SITE_PACKAGES), body=worker)
    )
    assert said["machine"] == "aarch64"
    assert said["other"] == []
    assert said["same"] > 40


@pytest.mark.parametrize("name", MODELS)
def test_an_image_for_arm64_answers_as_the_one_for_this_machine(
    world: World, tmp_path: Path, name: str
) -> None:
    """Both are of one index; arm64 runs under qemu in a root directory of its own, as its own user."""
    log, rows = MODELS[name]
    trained = tmp_path / "trained"
    trained.mkdir()
    run, body = log(world, trained), json.dumps(rows()).encode()
    index = both_platforms(world, run, name)
    assert engine().version()["Arch"] == "amd64", "the emulated one is arm64"

    image = emulated(index, tmp_path, architecture="arm64")
    assert json.loads(image.run("provenance"))["run"]["id"] == run
    assert_bytecode_is_its_own(image)
    assert_equal(json.loads(image.run("predict", body=body)), answer_on_this_machine(index, body, tmp_path))
