"""The base image of demo, tests and benchmarks: made from Dockerfile.base once, pushed where wanted."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from lab.engine import engine
from lab.source import OWN_PYTHON, source_image
from lab.state import LAB_DIRECTORY
from lab.story import Story
from runbake.runtime import Engine, build_base_image, push_image

LOCAL_REPOSITORY = "runbake-lab/base"
_DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile.base"


def ensure_base(repository: str, *, python: str = OWN_PYTHON, story: Story | None = None) -> str:
    """The base image in `repository` (HOST:PORT/NAME), as a reference by digest; for the engine's platform.

    Built once for each Dockerfile.base and source image; pushing what is there already sends nothing.

    Raises:
        LabError: no engine, no source image.
        RunbakeError: a failed build or push.
    """
    told = story or Story()
    client = engine()
    tag = build_base(client, python=python, story=told)
    with told.step("base", f"push to {repository}"):
        digest = push_image(Engine(client), f"{LOCAL_REPOSITORY}:{tag}", repository, tag)
        return f"{repository}@{digest}"


def build_base(client: docker.DockerClient, *, python: str = OWN_PYTHON, story: Story) -> str:
    """Have the base image in the engine; its tag under `LOCAL_REPOSITORY`. Of two makers one waits."""
    with _locked():
        source = source_image(client, python=python, story=story)
        tag = tag_of(_DOCKERFILE.read_bytes(), str(client.images.get(source).id))
        try:
            client.images.get(f"{LOCAL_REPOSITORY}:{tag}")
        except ImageNotFound:
            with story.step("base", f"build Dockerfile.base on {source}"):
                build_base_image(
                    Engine(client),
                    _DOCKERFILE.read_bytes(),
                    source=source,
                    image=f"{LOCAL_REPOSITORY}:{tag}",
                    environment=os.environ,
                    network="host" if platform.system() == "Linux" else None,
                )
        return tag


def tag_of(dockerfile: bytes, source_id: str) -> str:
    """Twelve hex digits that change with the recipe and with the image it starts from."""
    return hashlib.sha256(dockerfile + b"\0" + source_id.encode()).hexdigest()[:12]


@contextmanager
def _locked() -> Iterator[None]:
    LAB_DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (LAB_DIRECTORY / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
