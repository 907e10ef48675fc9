"""The real engine: what a proof brings into it is gone afterwards, whatever happens."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from lab.engine import engine as lab_engine
from runbake.errors import EngineError
from runbake.image import Digest, engine_archive
from runbake.runtime import Engine, EngineImage
from runbake.runtime.engine import PROOF_REPOSITORY
from tests.unit.image.test_image import an_image

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    """The engine as tests see it, past our own door."""
    return lab_engine()


@pytest.fixture
def engine(client: docker.DockerClient) -> Engine:
    """The engine through our own door."""
    return Engine(client)


@pytest.fixture
def pushed(
    client: docker.DockerClient, registry_address: str, request: pytest.FixtureRequest
) -> Iterator[tuple[str, Digest]]:
    """A small image that the registry has and the engine does not."""
    name = "".join(filter(str.isalnum, request.node.name)).lower()
    repository = f"{registry_address}/{name}"
    image_id = _made(client, repository, name.encode())
    lines = client.images.push(repository, tag="t", stream=True, decode=True)
    digest = next(line["aux"]["Digest"] for line in lines if "Digest" in (line.get("aux") or {}))
    client.images.remove(image_id, force=True)
    yield repository, Digest(digest)
    for image in client.images.list(repository):
        client.images.remove(str(image.id), force=True)


def _made(client: docker.DockerClient, repository: str, content: bytes) -> str:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    client.api.import_image_from_data(raw.getvalue(), repository=repository, tag="t")
    return str(client.images.get(f"{repository}:t").id)


def is_there(client: docker.DockerClient, image: EngineImage) -> bool:
    """Whether the engine still has an image."""
    return image.id in {found["Id"] for found in client.api.images()}


def proof_tags(client: docker.DockerClient, image: EngineImage) -> list[str]:
    """The tags that hold an image for proofs."""
    return [tag for tag in client.images.get(image.id).tags if tag.startswith(PROOF_REPOSITORY)]


def test_what_a_proof_pulled_is_removed(
    client: docker.DockerClient, engine: Engine, pushed: tuple[str, Digest]
) -> None:
    """An engine that proves every build does not fill up."""
    with engine.pulled(*pushed) as image:
        assert is_there(client, image)
        assert image.name == f"{pushed[0]}@{pushed[1]}"

    assert not is_there(client, image)


def test_what_was_there_before_stays(
    client: docker.DockerClient, engine: Engine, pushed: tuple[str, Digest]
) -> None:
    """Somebody may be serving it."""
    engine.pull(*pushed)
    with engine.pulled(*pushed) as image:
        pass

    assert is_there(client, image)
    assert proof_tags(client, image) == []
    assert client.images.get(f"{pushed[0]}@{pushed[1]}").id == image.id


def test_of_two_proofs_of_one_image_the_last_removes_it(
    client: docker.DockerClient, engine: Engine, pushed: tuple[str, Digest]
) -> None:
    """Two builds of one run at the same moment: neither takes the other's image away, and none is left."""
    with engine.pulled(*pushed) as first:
        with engine.pulled(*pushed) as second:
            pass
        assert is_there(client, second)
        later = engine.pulled(*pushed)
        later.__enter__()
    assert is_there(client, first)
    later.__exit__(None, None, None)

    assert not is_there(client, first)


def test_what_somebody_uses_by_now_stays(
    client: docker.DockerClient, engine: Engine, pushed: tuple[str, Digest]
) -> None:
    """A container that was made of the image meanwhile keeps it, without an error."""
    with engine.pulled(*pushed) as image:
        container = client.containers.create(image.name, ["none"])
    try:
        assert is_there(client, image)
    finally:
        container.remove()


def test_what_a_killed_proof_left_is_swept_and_nothing_else(
    client: docker.DockerClient, engine: Engine, pushed: tuple[str, Digest]
) -> None:
    """Its containers and its tag go; those of a proof that runs, and the image by its digest, stay."""
    with ExitStack() as running:
        killed, living = (
            running.enter_context(engine.pulled(*pushed, mark=mark)) for mark in ("0killed", "0living")
        )
        made = [
            running.enter_context(
                running.enter_context(engine.together(mark=image.mark)).container(image.id, command="x")
            )
            for image in (killed, living)
        ]
        engine.sweep(("0killed", "0never"))

        there = {found["Id"] for found in client.api.containers(all=True)}
        assert [container.id in there for container in made] == [False, True]
        assert proof_tags(client, living) == [f"{PROOF_REPOSITORY}:0living"]
        assert client.images.get(living.name).id == living.id
    assert not is_there(client, living)


def test_an_archive_is_loaded_for_a_while(
    client: docker.DockerClient, engine: Engine, tmp_path: Path
) -> None:
    """What --output wrote is read by the engine itself, and nothing of it stays."""
    platform = an_image(tmp_path, "oci", "linux/amd64").platforms[0]

    with engine.loaded(lambda tag: engine_archive(platform, tag), "it") as image:
        assert image.id == str(platform.config.digest)
        assert is_there(client, image)

    assert not is_there(client, image)


def test_an_archive_that_is_none_is_refused(engine: Engine) -> None:
    """The engine's own words are in the error."""
    with pytest.raises(EngineError, match="load it"), engine.loaded(lambda _: iter([b"x" * 2048]), "it"):
        pass


def test_no_container_outlives_the_end(
    client: docker.DockerClient, engine: Engine, pushed: tuple[str, Digest]
) -> None:
    """Not even one whose creation was under way when another failed."""
    began, may_go_on, ids = threading.Event(), threading.Event(), []

    class Slow:
        """Containers whose creation takes until the test says so."""

        def create(self, *arguments: Any, **options: Any) -> object:
            began.set()
            assert may_go_on.wait(20)
            made = client.containers.create(*arguments, **options)
            ids.append(made.id)
            return made

    def make() -> None:
        with pytest.raises(EngineError, match="wanted any more"), containers.container(image.id, command="x"):
            pass

    with engine.pulled(*pushed) as image:
        with engine.together() as containers:
            containers._client = type("Client", (), {"containers": Slow()})()
            maker = threading.Thread(target=make)
            maker.start()
            assert began.wait(20)
        may_go_on.set()
        maker.join(timeout=20)

    assert len(ids) == 1
    assert ids[0] not in {found["Id"] for found in client.api.containers(all=True)}
