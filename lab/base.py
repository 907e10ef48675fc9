"""The base image of demo, tests and benchmarks: made from Dockerfile.base once, pushed where wanted."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, ImageNotFound

from lab.engine import engine
from lab.errors import LabError
from lab.source import source_image
from lab.state import LAB_DIRECTORY
from lab.story import Story

LOCAL_REPOSITORY = "runbake-lab/base"
_DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile.base"
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def ensure_base(repository: str, *, story: Story | None = None) -> str:
    """The base image in `repository` (HOST:PORT/NAME), as a reference by digest; for the engine's platform.

    Built once for each Dockerfile.base and source image; pushing what is there already sends nothing.

    Raises:
        LabError: no engine, no source image, a failed build or push.
    """
    told = story or Story()
    client = engine()
    tag = build_base(client, story=told)
    with told.step("base", f"push to {repository}"):
        return f"{repository}@{_push(client, f'{LOCAL_REPOSITORY}:{tag}', repository, tag)}"


def build_base(client: docker.DockerClient, *, story: Story) -> str:
    """Have the base image in the engine; its tag under `LOCAL_REPOSITORY`. Of two makers one waits."""
    with _locked():
        source = source_image(client, story=story)
        tag = tag_of(_DOCKERFILE.read_bytes(), str(client.images.get(source).id))
        try:
            client.images.get(f"{LOCAL_REPOSITORY}:{tag}")
        except ImageNotFound:
            with story.step("base", f"build Dockerfile.base on {source}"):
                _build(client, source, tag)
        return tag


def tag_of(dockerfile: bytes, source_id: str) -> str:
    """Twelve hex digits that change with the recipe and with the image it starts from."""
    return hashlib.sha256(dockerfile + b"\0" + source_id.encode()).hexdigest()[:12]


def _build(client: docker.DockerClient, source: str, tag: str) -> None:
    try:
        client.images.build(
            fileobj=io.BytesIO(_DOCKERFILE.read_bytes()),
            tag=f"{LOCAL_REPOSITORY}:{tag}",
            buildargs={"BASE": source, **_proxies(os.environ)},
            network_mode="host" if platform.system() == "Linux" else None,
            rm=True,
        )
    except BuildError as error:
        log = "".join(str(line.get("stream", "")) for line in error.build_log)
        raise LabError(f"Dockerfile.base does not build: {error}\n{log[-4000:]}") from error


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Docker's predefined build arguments: they reach apt and stay out of the image and its history."""
    return {name: environment[name] for name in _PROXY_VARIABLES if name in environment}


def _push(client: docker.DockerClient, image: str, repository: str, tag: str) -> str:
    """Push and return the manifest's digest as the registry named it."""
    client.images.get(image).tag(repository, tag)
    try:
        for line in client.images.push(repository, tag=tag, stream=True, decode=True):
            if "error" in line:
                raise LabError(f"cannot push the base image to {repository}: {line['error']}")
            if "Digest" in (line.get("aux") or {}):
                return str(line["aux"]["Digest"])
    except APIError as error:
        raise LabError(f"cannot push the base image to {repository}: {error}") from error
    raise LabError(f"the engine named no digest after pushing to {repository}")


@contextmanager
def _locked() -> Iterator[None]:
    LAB_DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (LAB_DIRECTORY / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
