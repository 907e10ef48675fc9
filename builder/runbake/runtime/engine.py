"""The one door to the container engine: the Docker SDK, with its errors translated."""

from __future__ import annotations

import io
import socket
import struct
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import docker
import docker.errors
import requests
from docker.models.containers import Container
from docker.tls import TLSConfig

from runbake.errors import EngineError, EngineMissing
from runbake.image import Digest
from runbake.runtime.contexts import Endpoint, active_endpoint

PROOF_REPOSITORY = "runbake-proof"
"""Tags of this name hold an image in the engine while it is proved."""
_ATTEMPTS = 3
_TIMEOUT_S = 120
_MISSING_HINT = "start Docker, or set DOCKER_HOST; `runbake doctor` says what is there"
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a process in a container left: exit code, output, errors."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image in the engine: `id` is what containers are made from, `name` what people call it."""

    id: str
    name: str


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.DockerException as error:
        raise EngineError(f"the engine failed to {doing}: {_reason(error)}") from error
    except requests.RequestException as error:
        raise EngineError(f"lost the engine while trying to {doing}", hint=_MISSING_HINT) from error


def _reason(error: docker.errors.DockerException) -> str:
    explanation = getattr(error, "explanation", None)
    return str(explanation or error)


def _noting(failure: BaseException, clean_up: Callable[[], None]) -> None:
    """Clean up after a failure; what fails in that is a note on it, and does not take its place."""
    try:
        clean_up()
    except EngineError as also:
        failure.add_note(str(also))


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
    return any(str(tag).startswith(f"{PROOF_REPOSITORY}:") for tag in image["RepoTags"] or ())


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
        with _translated(f"inspect {image}"):
            return tuple(self._client.images.get(image).attrs["Config"]["Env"] or ())

    def image_id(self, image: str) -> str:
        """The id of an image that the engine has."""
        with _translated(f"inspect {image}"):
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
            raise EngineMissing(f"no container engine answers at {where}", hint=_MISSING_HINT) from error
        return cls(client)

    @property
    def description(self) -> str:
        """Name, version and platform, for people."""
        version = self._client.version()
        return f"Docker {version['Version']}, {version['Os']}/{version['Arch']}"

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
        with _translated(f"pull {reference}"):
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
        with _translated(f"inspect {image}"):
            return tuple(self._client.images.get(image).attrs["Config"]["Entrypoint"] or ())

    @contextmanager
    def pulled(
        self, repository: str, digest: Digest, auth: Mapping[str, str] | None = None
    ) -> Iterator[EngineImage]:
        """Have an image by digest for a while; unless it was there before, it is removed at the end.

        Of several that hold one image at the same time, the last removes it.

        Raises:
            EngineError: as `pull` does.
        """
        there = self._kept_images()
        for attempt in range(1, _ATTEMPTS + 1):
            reference = self.pull(repository, digest, auth)
            tag = f"{PROOF_REPOSITORY}:{uuid.uuid4().hex}"
            with _translated(f"tag {reference}"):
                try:
                    # From here on nobody's removal of the reference removes the image.
                    found = self._client.images.get(reference)
                    found.tag(tag)
                    break
                except docker.errors.NotFound:
                    if attempt == _ATTEMPTS:
                        raise
        with self._held(tag, there, reference):
            yield EngineImage(id=str(found.id), name=reference)

    @contextmanager
    def loaded(self, archive: Callable[[str], Iterator[bytes]], name: str) -> Iterator[EngineImage]:
        """Have an image from an archive for a while; `archive` makes it for the tag that it is asked for.

        `name` is what people call it.

        Raises:
            EngineError: the engine refuses the archive.
        """
        there = self._kept_images()
        tag = f"{PROOF_REPOSITORY}:{uuid.uuid4().hex}"
        with _translated(f"load {name}"):
            for line in self._client.api.load_image(archive(tag)) or ():  # type: ignore[no-untyped-call]
                if "error" in line:
                    raise EngineError(f"the engine cannot load {name}: {line['error']}")
            found = self._client.images.get(tag)
        with self._held(tag, there, ""):
            yield EngineImage(id=str(found.id), name=name)

    def _kept_images(self) -> set[str]:
        """Ids and digests of the images that somebody has here: all but those that are here for a proof."""
        with _translated("list its images"):
            kept = [image for image in self._client.api.images() if not _is_for_proof(image)]
        return {str(image["Id"]) for image in kept}.union(*(image["RepoDigests"] or () for image in kept))

    @contextmanager
    def _held(self, tag: str, there: set[str], reference: str) -> Iterator[None]:
        try:
            yield
        except BaseException as failure:
            _noting(failure, lambda: self._let_go(tag, there, reference))
            raise
        self._let_go(tag, there, reference)

    def _let_go(self, tag: str, there: set[str], reference: str) -> None:
        """Remove the tag; and the reference too, unless somebody had it before or is proving the image."""
        with _translated(f"remove the image {reference or tag}"), suppress(docker.errors.NotFound):
            found = self._client.images.get(tag)
            names = {*(found.attrs["RepoTags"] or ()), *(found.attrs["RepoDigests"] or ())}
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
    def together(self) -> Iterator[Together]:
        """Containers that end together: when the block ends, whatever happens, none of them is left."""
        containers = Together(self._client)
        try:
            yield containers
        except BaseException as failure:
            _noting(failure, containers.end)
            raise
        containers.end()

    def run_detached(self, image: str, **options: Any) -> RunningContainer:
        """Start a container that outlives this process; one that does not start is removed."""
        with _translated(f"create a container of {image}"):
            made = RunningContainer(self._client.containers.create(image, **options))
        try:
            made.start()
        except BaseException:
            made.remove()
            raise
        return made

    def find_container(self, name_or_id: str) -> RunningContainer | None:
        """The container of this name or id, if there is one."""
        with _translated(f"look for container {name_or_id}"):
            try:
                return RunningContainer(self._client.containers.get(name_or_id))
            except docker.errors.NotFound:
                return None


class Together:
    """Temporary containers, made from several threads; `end` also ends those that are being created."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._made: dict[str, Container] = {}
        self._ended = False

    @contextmanager
    def container(self, image: str, **options: Any) -> Iterator[RunningContainer]:
        """A created container, removed with force at the end of the block, or before it by `end`.

        Raises:
            EngineError: the engine refused, or `end` was called.
        """
        with _translated(f"create a container of {image}"):
            made = self._client.containers.create(image, **options)
        with self._lock:
            self._made[str(made.id)] = made
            ended = self._ended
        if ended:
            self._remove(made)
            raise EngineError(f"no container of {image} is wanted any more")
        try:
            yield RunningContainer(made)
        except BaseException as failure:
            _noting(failure, lambda: self._remove(made))
            raise
        self._remove(made)

    def end(self) -> None:
        """Remove every container now, so that threads that wait for one stop waiting."""
        with self._lock:
            self._ended = True
            made = list(self._made.values())
        with ExitStack() as removals:  # each is tried, whatever happens to the one before
            for container in made:
                removals.callback(self._remove, container)

    def _remove(self, made: Container) -> None:
        with self._lock:
            if self._made.pop(str(made.id), None) is None:
                return
        with _translated(f"remove container {made.short_id}"), suppress(docker.errors.NotFound):
            made.remove(force=True, v=True)


class RunningContainer:
    """One container."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def id(self) -> str:
        """The container's full id."""
        return str(self._container.id)

    @property
    def image(self) -> str:
        """The reference that the container was made from."""
        return str(self._container.attrs["Config"]["Image"])

    @property
    def labels(self) -> dict[str, str]:
        """The labels, the image's among them."""
        return dict(self._container.labels)

    def start(self) -> None:
        """Start the process."""
        with _translated(f"start container {self._container.short_id}"):
            self._container.start()

    def wait(self, timeout_s: float) -> int:
        """Wait for the end of the process; its exit code.

        Raises:
            EngineError: it did not end in time, or the engine went away.
        """
        with _translated(f"wait {timeout_s:.0f} s for the end of container {self._container.short_id}"):
            return int(self._container.wait(timeout=timeout_s)["StatusCode"])

    def state(self) -> tuple[str, int]:
        """Status word and exit code."""
        with _translated(f"inspect container {self._container.short_id}"):
            self._container.reload()
        state = self._container.attrs["State"]
        return str(state["Status"]), int(state["ExitCode"])

    def host_port(self, port: int) -> str:
        """`HOST:PORT` on which a published port is reached.

        Raises:
            EngineError: none is, as the process ended already; the message has the end of its log.
        """
        status, code = self.state()
        published = (self._container.attrs["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp")
        if not published:
            raise EngineError(f"the container is {status} ({code}):\n{self.logs(tail=20)}")
        return f"{published[0]['HostIp']}:{published[0]['HostPort']}"

    def logs(self, *, stdout: bool = True, stderr: bool = True, tail: int | Literal["all"] = "all") -> str:
        """What the process wrote."""
        with _translated(f"read the logs of container {self._container.short_id}"):
            raw: bytes = self._container.logs(stdout=stdout, stderr=stderr, tail=tail)
        return raw.decode("utf-8", "replace")

    def follow(self) -> Iterator[str]:
        """What the process writes, as it comes, until it ends."""
        with _translated(f"follow the logs of container {self._container.short_id}"):
            for chunk in self._container.logs(stream=True, follow=True):
                yield chunk.decode("utf-8", "replace")

    def remove(self) -> None:
        """Stop the process and remove the container with its volumes."""
        with _translated(f"remove container {self._container.short_id}"):
            self._container.stop(timeout=10)
            self._container.remove(force=True, v=True)

    def put(self, tar: BinaryIO, *, under: str = "/") -> None:
        """Unpack a tar stream into the container's file system."""
        with _translated(f"copy files into container {self._container.short_id}"):
            self._container.put_archive(under, tar)

    def get(self, path: str, into: BinaryIO) -> None:
        """Write a file or directory of the container as a tar stream."""
        with _translated(f"copy {path} from container {self._container.short_id}"):
            chunks, _ = self._container.get_archive(path)
            into.writelines(chunks)

    def read_file(self, path: str) -> bytes:
        """The bytes of one small file."""
        with _translated(f"read {path} from container {self._container.short_id}"):
            chunks, _ = self._container.get_archive(path)
            raw = b"".join(chunks)
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            if member is None:
                raise EngineError(f"{path} in container {self._container.short_id} is not a file")
            return member.read()

    def execute(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> Executed:
        """Run a command in the container and wait for it.

        Raises:
            EngineError: the engine refused, or the command took longer than `timeout_s`.
        """
        api = self._container.client.api  # type: ignore[union-attr]
        with _translated(f"run a command in container {self._container.short_id}"):
            made = api.exec_create(self._container.id, list(command), environment=dict(environment))
            stream = api.exec_start(made["Id"], socket=True)
            # Behind a Unix or TCP socket the SDK hands out a wrapper that cannot be read to its end.
            raw = cast(socket.socket, getattr(stream, "_sock"))  # noqa: B009 -- private in the stubs
            raw.settimeout(timeout_s)
            try:
                out = _demultiplexed(raw)
            except TimeoutError as error:
                raise EngineError(f"a command in the container took longer than {timeout_s:.0f} s") from error
            finally:
                stream.close()
            code = int(api.exec_inspect(made["Id"])["ExitCode"] or 0)
        return Executed(exit_code=code, stdout=out[_STDOUT], stderr=out[_STDERR])


def _demultiplexed(raw: socket.socket) -> dict[int, str]:
    """Split the engine's stream: frames of a kind byte, three zeros, a length, and the bytes.

    Source: Docker Engine API, "Attach to a container", stream format.
    """
    collected = {_STDOUT: bytearray(), _STDERR: bytearray()}
    while header := _received(raw, 8):
        kind, length = struct.unpack(">BxxxL", header)
        collected.setdefault(kind, bytearray()).extend(_received(raw, length))
    return {kind: bytes(data).decode("utf-8", "replace") for kind, data in collected.items()}


def _received(raw: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = raw.recv(min(length - len(data), 1 << 16))
        if not chunk:
            break
        data.extend(chunk)
    return bytes(data)
