"""Models of other Pythons than this machine's: trained, containerized and answering by their own."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator

import pytest

from lab.base import ensure_base
from lab.engine import engine
from lab.source import source_image
from lab.story import Story
from runbake.errors import PythonMismatch
from tests.e2e.other_python import train_with
from tests.e2e.refusal import refused
from tests.e2e.train import wines
from tests.e2e.world import World

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PYTHON = "3.13"
MOVED = r"""
FROM {source}
RUN mv /usr/bin/python{python} /usr/local/bin/ \
 && cp -a /usr/lib/python{python}/. /usr/local/lib/python{python}/ && rm -rf /usr/lib/python{python} \
 && rm -f /var/lib/dpkg/info/*python3*.prerm /var/lib/dpkg/info/*python3*.postrm \
 && dpkg --purge --force-all $(dpkg-query -W -f '${{Package}} ' '*python3*') \
 && rm -f /usr/bin/python3 && ln -s python{python} /usr/local/bin/python3
RUN ! test -e /usr/bin/python3 && /usr/local/bin/python3 -c 'import sys; assert sys.prefix == "/usr/local"'
"""
"""A stand-in for `python:3.N-slim`: the same place for Python, of which dpkg knows nothing."""


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A promoted run of Python 3.13."""
    return train_with(PYTHON, world.mlflow_uri, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """An image with Python in /usr/local only."""
    source = source_image(engine(), python=PYTHON, story=Story())
    tag = f"runbake-lab/local:{secrets.token_hex(4)}"
    recipe = MOVED.format(source=source, python=PYTHON).encode()
    engine().images.build(fileobj=io.BytesIO(recipe), tag=tag, network_mode="none", rm=True)
    yield tag
    engine().images.remove(tag)


def assert_answers(image: str, place: str) -> None:
    """The image's own Python, at that place, predicts the wines; the proof compared it with MLflow before."""
    table = wines().iloc[::20]
    rows = table.drop(columns="cultivar").to_dict(orient="split", index=False)
    body = json.dumps({"dataframe_split": rows})
    code = (
        "import subprocess, sys; print(sys.executable, sys.version.split()[0], flush=True);"
        "subprocess.run([sys.executable, '-m', 'runbake_serving', 'predict'], check=True,"
        "               input=sys.argv[1].encode())"
    )
    said = engine().containers.run(
        image, ["-c", code, body], entrypoint=[place], remove=True, read_only=True, network_mode="none"
    )
    where, version, answer = said.decode().split(maxsplit=2)
    assert (where, version.rpartition(".")[0]) == (place, PYTHON)
    predictions = json.loads(answer)["predictions"]
    assert set(predictions) <= set(wines()["cultivar"])
    assert sum(a == b for a, b in zip(predictions, table["cultivar"], strict=True)) >= len(table) - 1


def test_a_model_of_python_3_13_goes_the_whole_way(world: World, run: str) -> None:
    """log_model by Debian 13's Python, `--base …{python}`, image, proof, answers; each by Python 3.13."""
    base = f"{world.registry}/pythons/base:{{python}}"
    wanted = ("containerize", run, "--repository", f"{world.registry}/pythons/wine", "--base", base)
    source = source_image(engine(), python=PYTHON, story=Story())
    name = base.format(python=PYTHON)
    world.done("base", "build", name, "--python", PYTHON, "--from", source, "--network", "host")
    engine().images.remove(name)
    said = world.done(*wanted)
    assert [proof["kind"] for proof in world.report()["proofs"]] == ["example"]
    assert_answers(said.out.strip(), f"/usr/bin/python{PYTHON}")


def test_a_base_with_python_in_usr_local(world: World, run: str, elsewhere: str) -> None:
    """`Dockerfile.base` keeps a Python that dpkg knows nothing of, with the libraries that it needs."""
    name = f"{world.registry}/pythons/local:{PYTHON}"
    base = world.done("base", "build", name, "--python", PYTHON, "--from", elsewhere, "--network", "none")
    engine().images.remove(name)
    said = world.done(
        "containerize", run, "--base", base.out.strip(), "--repository", f"{world.registry}/pythons/moved"
    )
    assert_answers(said.out.strip(), f"/usr/local/bin/python{PYTHON}")


def test_a_base_of_another_python_is_refused_with_the_command_that_makes_one(world: World, run: str) -> None:
    """A model of 3.13 on a base of 3.11: nothing is pushed, and the message has both and the way out."""
    name = f"{world.registry}/pythons/old"
    base, command = ensure_base(name, python="3.11"), f"runbake base build {name}:{PYTHON} --python {PYTHON}"
    refused(
        world, PythonMismatch, run, "--base", base, "--repository", f"{world.registry}/pythons/none",
        says=("Python 3.11", f"Python {PYTHON}", command),
    )  # fmt: skip
    assert world.tags("pythons/none") == ()
