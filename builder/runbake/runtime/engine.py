"""The one door to the container engine: the Docker SDK, with its errors translated."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
from docker.tls import TLSConfig

from runbake.errors import EngineError, EngineMissing
from runbake.image import Digest
from runbake.runtime.container import RunningContainer, Together
from runbake.runtime.contexts import Endpoint, active_endpoint
from runbake.runtime.failure import MISSING_HINT, noting, translated

PROOF_REPOSITORY = "runbake-proof"
"""Tags of this name hold an image in the engine while it is proved; the tag itself is the proof's mark."""
MARK_LABEL = "dev.runbake.mark"
"""Containers that are to end with a process carry its mark under this label."""
_ATTEMPTS = 3
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image in the engine: `id` is what containers are made from, `name` what people call it.

    `mark` tells what is made of it from what others make, should this process be killed; see `Engine.sweep`.
    """

    id: str
    name: str
    mark: str = ""


def _client_by(environment: Mapping[str, str]) -> docker.DockerClient:
    return docker.from_env(environment=dict(environment), timeout=_TIMEOUT_S)


def _client_of(endpoint: Endpoint) -> docker.DockerClient:
    return docker.DockerClient(
        base_url=endpoint.host,
        tls=_tls(endpoint.certificates, verify=endpoint.verify) if endpoint.certificates else False,
        timeout=_TIMEOUT_S,
        # The user's own `ssh`, with its agent and configuration, as `docker` does.
        use_ssh_client=True,
    )


def _tls(certificates: Path, *, verify: bool) -> TLSConfig:
    ca, cert, key = (certificates / f"{name}.pem" for name in ("ca", "cert", "key"))
    return TLSConfig(
        ca_cert=str(ca) if ca.is_file() else None,
        client_cert=(str(cert), str(key)) if cert.is_file() else None,
        verify=verify,
    )


def _is_for_proof(image: Mapping[str, Any]) -> bool:
    return any(_local(str(tag)).startswith(f"{PROOF_REPOSITORY}:") for tag in image["RepoTags"] or ())


def _local(name: str) -> str:
    """A name without a registry, as Docker shows it; podman shows one for it."""
    return name.removeprefix("docker.io/library/").removeprefix("localhost/")


class Engine:
    """A container engine that answers."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client

    @property
    def client(self) -> docker.DockerClient:
        """The SDK's own, for the other modules of this room."""
        return self._client

    def environment_of(self, image: str) -> tuple[str, ...]:
        """The `NAME=VALUE`s of an image that the engine has."""
        with translated(f"inspect {image}"):
            return tuple(self._client.images.get(image).attrs["Config"]["Env"] or ())

    def image_id(self, image: str) -> str:
        """The id of an image that the engine has."""
        with translated(f"inspect {image}"):
            return str(self._client.images.get(image).id)

    @classmethod
    def connect(cls, environment: Mapping[str, str]) -> Engine:
        """Reach the engine that `docker` would: DOCKER_HOST's, the active context's, or the default socket's.

        Raises:
            EngineMissing: nothing answers there.
            ConfigError: the active context cannot be read.
        """
        endpoint = active_endpoint(environment)
        try:
            client = _client_of(endpoint) if endpoint else _client_by(environment)
            client.ping()
        # The SDK lets what OpenSSL and ssh say about files and hosts pass as it is.
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            where = environment.get("DOCKER_HOST") or "the default socket"
            where = f"{endpoint.host}, of Docker's context {endpoint.context}" if endpoint else where
            raise EngineMissing(f"no container engine answers at {where}", hint=MISSING_HINT) from error
        return cls(client)

    @property
    def description(self) -> str:
        """Name, version and platform, for people."""
        version = self._client.version()
        parts = [str(part["Name"]) for part in version.get("Components") or ()]
        name = "Podman" if any(part.startswith("Podman") for part in parts) else "Docker"
        return f"{name} {version['Version']}, {version['Os']}/{version['Arch']}"

    @property
    def platform(self) -> str:
        """What it runs natively, such as "linux/amd64"."""
        version = self._client.version()
        return f"{version['Os']}/{version['Arch']}"

    def pull(self, repository: str, digest: Digest, auth: Mapping[str, str] | None = None) -> str:
        """Fetch an image by digest; the answer names it in this engine.

        Raises:
            EngineError: the engine cannot reach the registry, or refuses the image.
        """
        reference = f"{repository}@{digest}"
        with translated(f"pull {reference}"):
            # A digest goes in the place of the tag in the engine's API.
            for line in self._client.api.pull(
                repository,
                tag=str(digest),
                auth_config=dict(auth) if auth else None,
                stream=True,
                decode=True,
            ):
                if "error" in line:
                    raise EngineError(
                        f"the engine cannot pull {reference}: {line['error']}",
                        hint="the engine must reach the registry; a plain-http one must be on loopback or "
                        "in the engine's insecure-registries",
                    )
        return reference

    def entrypoint(self, image: str) -> tuple[str, ...]:
        """The entrypoint of an image that the engine has."""
        with translated(f"inspect {image}"):
            return tuple(self._client.images.get(image).attrs["Config"]["Entrypoint"] or ())

    @contextmanager
    def pulled(
        self, repository: str, digest: Digest, auth: Mapping[str, str] | None = None, *, mark: str = ""
    ) -> Iterator[EngineImage]:
        """Have an image by digest for a while; unless it was there before, it is removed at the end.

        Of several that hold one image at the same time, the last removes it. `mark` is nobody else's.

        Raises:
            EngineError: as `pull` does.
        """
        there = self._kept_images()
        for attempt in range(1, _ATTEMPTS + 1):
            reference = self.pull(repository, digest, auth)
            own = mark or uuid.uuid4().hex
            tag = f"{PROOF_REPOSITORY}:{own}"
            with translated(f"tag {reference}"):
                try:
                    # From here on nobody's removal of the reference removes the image.
                    found = self._client.images.get(reference)
                    found.tag(PROOF_REPOSITORY, tag=own)
                    break
                except docker.errors.NotFound:
                    if attempt == _ATTEMPTS:
                        raise
        with self._held(tag, there, reference):
            yield EngineImage(id=str(found.id), name=reference, mark=mark)

    @contextmanager
    def loaded(
        self, archive: Callable[[str], Iterator[bytes]], name: str, *, mark: str = ""
    ) -> Iterator[EngineImage]:
        """Have an image from an archive for a while; `archive` makes it for the tag that it is asked for.

        `name` is what people call it; `mark` is nobody else's.

        Raises:
            EngineError: the engine refuses the archive.
        """
        there = self._kept_images()
        tag = f"{PROOF_REPOSITORY}:{mark or uuid.uuid4().hex}"
        with translated(f"load {name}"):
            for line in self._client.api.load_image(archive(tag)) or ():  # type: ignore[no-untyped-call]
                if "error" in line:
                    raise EngineError(f"the engine cannot load {name}: {line['error']}")
            found = self._client.images.get(tag)
        with self._held(tag, there, ""):
            yield EngineImage(id=str(found.id), name=name, mark=mark)

    def sweep(self, marks: Collection[str]) -> None:
        """Remove the containers and proofs' tags of processes that are gone, by the marks of those processes.

        An image that a proof pulled stays under its digest: somebody may have wanted it since.
        """
        for mark in marks:
            with translated(f"remove what the killed process {mark} left"):
                left = self._client.containers.list(
                    all=True, filters={"label": f"{MARK_LABEL}={mark}"}, ignore_removed=True
                )
                for container in left:
                    with suppress(docker.errors.NotFound):
                        container.remove(force=True, v=True)
                with suppress(docker.errors.NotFound):
                    self._client.images.remove(f"{PROOF_REPOSITORY}:{mark}")

    def _kept_images(self) -> set[str]:
        """Ids and digests of the images that somebody has here: all but those that are here for a proof."""
        with translated("list its images"):
            kept = [image for image in self._client.api.images() if not _is_for_proof(image)]
        return {str(image["Id"]) for image in kept}.union(*(image["RepoDigests"] or () for image in kept))

    @contextmanager
    def _held(self, tag: str, there: set[str], reference: str) -> Iterator[None]:
        try:
            yield
        except BaseException as failure:
            noting(failure, lambda: self._let_go(tag, there, reference))
            raise
        self._let_go(tag, there, reference)

    def _let_go(self, tag: str, there: set[str], reference: str) -> None:
        """Remove the tag; and the reference too, unless somebody had it before or is proving the image."""
        with translated(f"remove the image {reference or tag}"), suppress(docker.errors.NotFound):
            found = self._client.images.get(tag)
            tags = {_local(str(name)) for name in found.attrs["RepoTags"] or ()}
            names = {*tags, *(found.attrs["RepoDigests"] or ())}
            others = names - {tag, reference}
            self._client.images.remove(tag)
            wanted = reference in there or _is_for_proof({"RepoTags": others})
            if reference and not wanted and (others or found.id not in there):
                with suppress(docker.errors.APIError):  # in use by now: whoever uses it keeps it
                    self._client.images.remove(reference)

    @contextmanager
    def container(self, image: str, **options: Any) -> Iterator[RunningContainer]:
        """A created container, removed with force at the end whatever happens."""
        with self.together() as containers, containers.container(image, **options) as made:
            yield made

    @contextmanager
    def together(self, *, mark: str = "") -> Iterator[Together]:
        """Containers that end together: when the block ends, whatever happens, none of them is left.

        Should this process be killed, `sweep` finds them by their `mark`.
        """
        containers = Together(self._client, {MARK_LABEL: mark} if mark else {})
        try:
            yield containers
        except BaseException as failure:
            noting(failure, containers.end)
            raise
        containers.end()

    def run_detached(self, image: str, *, mark: str = "", **options: Any) -> RunningContainer:
        """Start a container that outlives this process; one that does not start is removed.

        With a `mark`, `sweep` finds it by that.
        """
        if mark:
            options["labels"] = {**options.get("labels", {}), MARK_LABEL: mark}
        with translated(f"create a container of {image}"):
            made = RunningContainer(self._client.containers.create(image, **options))
        try:
            made.start()
        except BaseException:
            made.remove()
            raise
        return made

    def find_container(self, name_or_id: str) -> RunningContainer | None:
        """The container of this name or id, if there is one."""
        with translated(f"look for container {name_or_id}"):
            try:
                return RunningContainer(self._client.containers.get(name_or_id))
            except docker.errors.NotFound:
                return None
