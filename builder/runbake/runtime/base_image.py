"""The base image: built by the engine from Dockerfile.base, and pushed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import docker.errors

from runbake.errors import BaseImageError, EngineError, PythonMismatch
from runbake.image import Digest
from runbake.runtime.engine import Engine
from runbake.runtime.failure import translated

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_TOLD_CHARACTERS = 4000
_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def source_for(python: str) -> str:
    """The image on Docker Hub that has this Python, e.g. "3.12"; Debian 12's own is 3.11."""
    return "debian:bookworm-slim" if python == "3.11" else f"python:{python}-slim"


def build_base_image(
    engine: Engine,
    dockerfile: bytes,
    *,
    source: str,
    image: str,
    environment: Mapping[str, str],
    network: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Have `image` in the engine, made by the Dockerfile from `source`; `progress` hears each of its steps.

    Of the environment only the proxies are handed on, as build arguments that leave no trace in the image.

    Raises:
        BaseImageError: the Dockerfile does not build on that source; the message ends with its log.
        EngineError: the engine refuses or breaks.
    """
    log: list[str] = []
    with translated(f"build {image}"):
        stream = engine.client.api.build(
            fileobj=io.BytesIO(dockerfile),
            tag=image,
            buildargs={"BASE": source, **_proxies(environment)},
            network_mode=network,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for line in stream:
            if "error" in line:
                told = "".join(log)[-_TOLD_CHARACTERS:]
                raise BaseImageError(
                    f"Dockerfile.base does not build on {source}: {str(line['error']).strip()}\n{told}",
                    hint="name an image that is there and Debian-like with --from; a proxy, mirror or "
                    "certificate that apt needs belongs into that image",
                )
            text = str(line.get("stream", ""))
            log.append(text)
            if text.startswith("Step "):
                progress(text.strip())


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in _PROXY_VARIABLES if name in environment}


def check_python(engine: Engine, image: str, python: str) -> None:
    """Refuse an image in the engine whose Python has another minor version.

    Raises:
        PythonMismatch: it has.
        BaseImageError: it has no Python that runs.
    """
    with translated(f"ask {image} for its Python"):
        try:
            said = engine.client.containers.run(
                image, ["-c", _ASK], entrypoint="python3", network_mode="none", remove=True
            )
        except docker.errors.ContainerError as error:
            raise BaseImageError(f"the Python of {image} does not run: {error}") from error
    found = said.decode(errors="replace").strip()
    if found != python:
        raise PythonMismatch(
            f"{image} has Python {found}, not {python}",
            hint=f"start from an image that has it: --from {source_for(python)}",
        )


def push_image(
    engine: Engine, image: str, repository: str, tag: str, auth: Mapping[str, str] | None = None
) -> Digest:
    """Push an image of the engine under `repository:tag`; the digest that the registry gave it.

    Raises:
        EngineError: engine or registry refuse, or no digest is told.
    """
    with translated(f"push {repository}:{tag}"):
        engine.client.images.get(image).tag(repository, tag)
        options = {"auth_config": dict(auth)} if auth else {}
        for line in engine.client.images.push(repository, tag=tag, stream=True, decode=True, **options):
            if "error" in line:
                raise EngineError(f"cannot push {repository}:{tag}: {line['error']}")
            if "Digest" in (line.get("aux") or {}):
                return Digest(str(line["aux"]["Digest"]))
    raise EngineError(f"the engine named no digest after pushing {repository}:{tag}")
