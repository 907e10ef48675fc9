"""An image served for a person: under the name that was asked for, and gone unless it is to be kept."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import docker
import pytest
import requests

from lab.base import LOCAL_REPOSITORY, build_base
from lab.engine import engine as lab_engine
from lab.story import Story
from runbake.errors import EngineError
from runbake.runtime import Engine, serve_locally
from runbake_serving import contract

pytestmark = pytest.mark.engine

NAME = "runbake-test-serve"
RECIPE = 'FROM {base}\nLABEL {label}="r"\nCOPY server.py /\nCMD ["python3", "/server.py"]\n'
SERVER = f"""
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Pong(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
if os.environ.get("BROKEN"):
    raise SystemExit("no such model")
http.server.HTTPServer(("", {contract.PORT}), Pong).serve_forever()
"""


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    """The engine as tests see it, past our own door."""
    return lab_engine()


def base_of(client: docker.DockerClient) -> str:
    """The base image, in the engine."""
    return f"{LOCAL_REPOSITORY}:{build_base(client, story=Story())}"


@pytest.fixture(scope="module")
def image(client: docker.DockerClient) -> Iterator[str]:
    """An image on our base that answers `/ping`, with a label of runbake's."""
    tag = f"{NAME}:image"
    recipe = RECIPE.format(base=base_of(client), label=contract.LABEL_RUN_ID)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, text in (("Dockerfile", recipe), ("server.py", SERVER)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    raw.seek(0)
    client.images.build(fileobj=raw, custom_context=True, tag=tag, rm=True)
    yield tag
    client.images.remove(tag, force=True)


@pytest.fixture
def engine(client: docker.DockerClient) -> Iterator[Engine]:
    """The engine through our own door; containers of the test's name are gone afterwards."""
    yield Engine(client)
    for container in client.containers.list(all=True, filters={"name": NAME}, ignore_removed=True):
        container.remove(force=True)


def running(client: docker.DockerClient) -> list[str]:
    """The ids of the containers of the test's name."""
    return [str(found.id) for found in client.containers.list(filters={"name": NAME}, ignore_removed=True)]


def test_it_answers_on_loopback_and_is_gone_afterwards(
    client: docker.DockerClient, engine: Engine, image: str
) -> None:
    """As in production: read-only and without capabilities, on 127.0.0.1 only."""
    with serve_locally(engine, image, port=0, name=NAME, keep=False) as server:
        server.wait_until_ready()
        attributes = client.containers.get(NAME).attrs["HostConfig"]
        assert server.url.startswith("http://127.0.0.1:")
        assert requests.get(f"{server.url}/ping", timeout=5).status_code == 200
        assert (attributes["ReadonlyRootfs"], attributes["CapDrop"]) == (True, ["ALL"])

    assert running(client) == []


def test_a_kept_server_is_replaced_by_the_next_of_its_name(
    client: docker.DockerClient, engine: Engine, image: str
) -> None:
    """`--detach --name` twice leaves the second one."""
    ids = []
    for _ in range(2):
        with serve_locally(engine, image, port=0, name=NAME, keep=True) as server:
            server.wait_until_ready()
        ids += running(client)

    assert len(set(ids)) == 2
    assert running(client) == ids[1:]


def test_a_container_of_somebody_else_stays(client: docker.DockerClient, engine: Engine, image: str) -> None:
    """A name is no proof of ownership: the error says what runs there."""
    theirs = client.containers.create(base_of(client), ["true"], name=NAME)

    with pytest.raises(EngineError, match="not runbake's") as caught:
        serve_locally(engine, image, port=0, name=NAME, keep=False).__enter__()
    assert "--name" in caught.value.hint
    assert client.containers.get(NAME).id == theirs.id


def test_an_interrupt_removes_it_even_when_it_was_to_be_kept(
    client: docker.DockerClient, engine: Engine, image: str
) -> None:
    """Ctrl-C leaves nothing behind."""

    def interrupt() -> None:
        with serve_locally(engine, image, port=0, name=NAME, keep=True) as server:
            server.wait_until_ready()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert client.containers.list(all=True, filters={"name": NAME}, ignore_removed=True) == []


def test_a_server_that_ends_is_shown_with_its_log(engine: Engine, image: str) -> None:
    """The end of its log, not a wait of two minutes."""
    client = lab_engine()
    broken = f"{NAME}:broken"
    made = client.containers.create(image, environment={"BROKEN": "1"}, name=f"{NAME}-maker")
    made.commit(NAME, "broken", changes='ENV BROKEN="1"')
    made.remove()
    try:
        with (
            pytest.raises(EngineError, match="no such model"),
            serve_locally(engine, broken, port=0, name=NAME, keep=False) as server,
        ):
            server.wait_until_ready()
    finally:
        client.images.remove(broken, force=True)
