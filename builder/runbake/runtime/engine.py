"""The one door to the container engine: the Docker SDK, with its errors translated."""

from __future__ import annotations

import io
import socket
import struct
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import docker
import docker.errors
import requests
from docker.models.containers import Container

from runbake.errors import EngineError, EngineMissing
from runbake.image import Digest

_MISSING_HINT = "start Docker, or set DOCKER_HOST; `runbake doctor` says what is there"
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a process in a container left: exit code, output, errors."""

    exit_code: int
    stdout: str
    stderr: str


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


class Engine:
    """A container engine that answers."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._temporary: dict[str, Container] = {}

    @classmethod
    def connect(cls, environment: Mapping[str, str]) -> Engine:
        """Reach the engine that DOCKER_HOST (or the default socket) names.

        Raises:
            EngineMissing: nothing answers there.
        """
        try:
            client = docker.from_env(environment=dict(environment), timeout=120)
            client.ping()
        except (docker.errors.DockerException, requests.RequestException) as error:
            where = environment.get("DOCKER_HOST", "the default socket")
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
    def container(self, image: str, **options: Any) -> Iterator[RunningContainer]:
        """A created container, removed with force at the end whatever happens."""
        with _translated(f"create a container of {image}"):
            made = self._client.containers.create(image, **options)
        self._temporary[str(made.id)] = made
        try:
            yield RunningContainer(made)
        finally:
            self._remove(made)

    def _remove(self, made: Container) -> None:
        if self._temporary.pop(str(made.id), None) is not None:
            with _translated(f"remove container {made.short_id}"):
                made.remove(force=True, v=True)

    def remove_temporary(self) -> None:
        """Remove every container of `container` now, so that threads that wait for one stop waiting."""
        for made in list(self._temporary.values()):
            self._remove(made)

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
