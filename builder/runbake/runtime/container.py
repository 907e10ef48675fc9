"""Containers: made for a while or left running, asked and removed."""

from __future__ import annotations

import io
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import docker
import docker.errors
from docker.models.containers import Container

from runbake.errors import EngineError
from runbake.runtime.failure import noting, translated

_STDOUT, _STDERR = 1, 2
_HEADER_BYTES = 8
_EXIT_CODE_S = 5.0
"""From the end of a command's output until the engine has its exit code."""
_CUT = "the connection to the engine ended before the command in the container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a process in a container left: exit code, output, errors."""

    exit_code: int
    stdout: str
    stderr: str


class Together:
    """Temporary containers, made from several threads; `end` also ends those that are being created.

    Each carries `labels`, by which it is found should this process be killed.
    """

    def __init__(self, client: docker.DockerClient, labels: Mapping[str, str]) -> None:
        self._client, self._labels = client, dict(labels)
        self._lock = threading.Lock()
        self._made: dict[str, Container] = {}
        self._ended = False

    @contextmanager
    def container(self, image: str, **options: Any) -> Iterator[RunningContainer]:
        """A created container, removed with force at the end of the block, or before it by `end`.

        Raises:
            EngineError: the engine refused, or `end` was called.
        """
        with translated(f"create a container of {image}"):
            made = self._client.containers.create(image, labels=self._labels, **options)
        with self._lock:
            self._made[str(made.id)] = made
            ended = self._ended
        if ended:
            self._remove(made)
            raise EngineError(f"no container of {image} is wanted any more")
        try:
            yield RunningContainer(made)
        except BaseException as failure:
            noting(failure, lambda: self._remove(made))
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
        with translated(f"remove container {made.short_id}"), suppress(docker.errors.NotFound):
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
        with translated(f"start container {self._container.short_id}"):
            self._container.start()

    def wait(self, timeout_s: float) -> int:
        """Wait for the end of the process; its exit code.

        Raises:
            EngineError: it did not end in time, or the engine went away.
        """
        with translated(f"wait {timeout_s:.0f} s for the end of container {self._container.short_id}"):
            return int(self._container.wait(timeout=timeout_s)["StatusCode"])

    def state(self) -> tuple[str, int]:
        """Status word and exit code."""
        with translated(f"inspect container {self._container.short_id}"):
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
        with translated(f"read the logs of container {self._container.short_id}"):
            raw: bytes = self._container.logs(stdout=stdout, stderr=stderr, tail=tail)
        return raw.decode("utf-8", "replace")

    def follow(self, *, stdout: bool = True) -> Iterator[str]:
        """What the process writes, as it comes, until it ends; without `stdout` its errors and story only."""
        with translated(f"follow the logs of container {self._container.short_id}"):
            for chunk in self._container.logs(stream=True, follow=True, stdout=stdout):
                yield chunk.decode("utf-8", "replace")

    def remove(self) -> None:
        """Stop the process and remove the container with its volumes."""
        with translated(f"remove container {self._container.short_id}"):
            self._container.stop(timeout=10)
            self._container.remove(force=True, v=True)

    def put(self, tar: BinaryIO, *, under: str = "/") -> None:
        """Unpack a tar stream into the container's file system."""
        with translated(f"copy files into container {self._container.short_id}"):
            self._container.put_archive(under, tar)

    def get(self, path: str, into: BinaryIO) -> None:
        """Write a file or directory of the container as a tar stream."""
        with translated(f"copy {path} from container {self._container.short_id}"):
            chunks, _ = self._container.get_archive(path)
            into.writelines(chunks)

    def read_file(self, path: str) -> bytes:
        """The bytes of one small file."""
        with translated(f"read {path} from container {self._container.short_id}"):
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
            EngineError: the engine refused, the command took longer than `timeout_s`, or the connection ended
                before it did.
        """
        api = self._container.client.api  # type: ignore[union-attr]
        with translated(f"run a command in container {self._container.short_id}"):
            made = api.exec_create(self._container.id, list(command), environment=dict(environment))
            stream = api.exec_start(made["Id"], socket=True)
            # Behind a Unix or TCP socket the SDK hands out a wrapper that cannot be read to its end.
            raw = cast(socket.socket, getattr(stream, "_sock"))  # noqa: B009 -- private in the stubs
            raw.settimeout(timeout_s)
            with closing(raw), closing(stream):  # the wrapper does not close what it wraps
                try:
                    out = _demultiplexed(raw)
                except TimeoutError as error:
                    raise EngineError(
                        f"a command in the container took longer than {timeout_s:.0f} s"
                    ) from error
            code = _exit_code(lambda: api.exec_inspect(made["Id"])["ExitCode"], min(timeout_s, _EXIT_CODE_S))
        return Executed(exit_code=code, stdout=out[_STDOUT], stderr=out[_STDERR])


def _exit_code(ask: Callable[[], int | None], within_s: float) -> int:
    """The exit code of a command whose output ended; none by then is a connection that was cut.

    It is asked for again: the engine may tell the end of the output before it notes the code.
    """
    give_up_at = time.monotonic() + within_s
    while (code := ask()) is None:
        if time.monotonic() >= give_up_at:
            raise EngineError(_CUT)
        time.sleep(0.05)
    return int(code)


def _demultiplexed(raw: socket.socket) -> dict[int, str]:
    """Split the engine's stream: frames of a kind byte, three zeros, a length, and the bytes.

    Raises:
        EngineError: it ends within a frame.

    Source: Docker Engine API, "Attach to a container", stream format.
    """
    collected = {_STDOUT: bytearray(), _STDERR: bytearray()}
    while header := _received(raw, _HEADER_BYTES):
        if len(header) < _HEADER_BYTES:
            raise EngineError(_CUT)
        kind, length = struct.unpack(">BxxxL", header)
        data = _received(raw, length)
        if len(data) < length:
            raise EngineError(_CUT)
        collected.setdefault(kind, bytearray()).extend(data)
    return {kind: bytes(data).decode("utf-8", "replace") for kind, data in collected.items()}


def _received(raw: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = raw.recv(min(length - len(data), 1 << 16))
        if not chunk:
            break
        data.extend(chunk)
    return bytes(data)
