"""Containers that stay when the command has ended: made, asked, renamed, drained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import docker
import docker.errors
from docker.models.containers import Container

from runbake.errors import DeployUnderWay, EngineError
from runbake.runtime.container import RunningContainer
from runbake.runtime.engine import Engine
from runbake.runtime.failure import translated

_SHORT_LIVED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "read_only": True,
    "pids_limit": 16,
    "mem_limit": 64 << 20,
}
_RESTART: Any = {"Name": "unless-stopped"}
_HOLD = "import sys; sys.stdin.read()"
_LOCK_WAIT_S = 5.0
_GOING_S = 10.0
"""A lock whose holder was killed is gone within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container to be made; `image` is an id that the engine has.

    `network` is "bridge", "none" or "container:ID". `publish` is (port inside, address, port
    outside). Limits of 0 are none. `stop_s` is how long it may take to end when told.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    network: str
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    publish: tuple[int, str, int] | None = None
    sysctls: Mapping[str, str]
    user: str
    tmpfs: Mapping[str, str]
    pids: int
    memory_bytes: int
    cpus: float
    restart: bool
    stop_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """What the engine says of a container.

    `status` is Docker's word; `started_at` is the year 1 where it never was. `published` is `HOST:PORT`, ""
    where no port is. `environment` holds `NAME=VALUE`s, the image's among them.
    """

    id: str
    name: str
    image: str
    status: str
    exit_code: int
    started_at: datetime
    network: str
    published: str
    labels: Mapping[str, str]
    environment: tuple[str, ...]
    memory_bytes: int
    cpus: float
    pids: int

    @property
    def running(self) -> bool:
        """Its process runs."""
        return self.status in ("running", "paused")


class Standing:
    """The containers of one engine that carry a label."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._client: docker.DockerClient = engine.client
        self._engine, self._label = engine, label

    def all(self, value: str = "") -> tuple[ContainerFacts, ...]:
        """Every container with the label, or with this value of it; running or not."""
        wanted = f"{self._label}={value}" if value else self._label
        with translated("list its containers"):
            found = self._client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
        return tuple(_facts(container) for container in found)

    def find(self, name: str) -> ContainerFacts | None:
        """The container of this name, whoever made it."""
        with translated(f"look for container {name}"), suppress(docker.errors.NotFound):
            return _facts(self._client.containers.get(name))
        return None

    def start(self, spec: ContainerSpec) -> str:
        """Create and start a container; its id. One that does not start is removed.

        Raises:
            EngineError: the engine refused.
        """
        with translated(f"create the container {spec.name}"):
            made = self._client.api.create_container(
                spec.image,
                name=spec.name,
                labels=dict(spec.labels),
                user=spec.user,
                environment=dict(spec.environment),
                detach=True,
                stop_timeout=spec.stop_s,
                use_config_proxy=False,
                ports=[spec.publish[0]] if spec.publish else None,
                host_config=self._client.api.create_host_config(**_host_options(spec)),
                entrypoint=list(spec.entrypoint) or None,
                command=[] if spec.entrypoint else None,
            )
        found = str(made["Id"])
        try:
            with translated(f"start the container {spec.name}"):
                self._client.api.start(found)
        except BaseException:
            self.remove(found)
            raise
        return found

    def facts(self, container_id: str) -> ContainerFacts:
        """What the engine says of it now."""
        with translated(f"inspect container {container_id[:12]}"):
            return _facts(self._client.containers.get(container_id))

    def is_ready(self, container_id: str, python: str, socket_path: str, *, within_s: float) -> bool:
        """Wait until the server in the container answers /ping on its own socket; False if it does not."""
        script = (files("runbake.runtime") / "_waiting.py").read_text(encoding="utf-8")
        asked = {"READY_SOCKET": socket_path, "READY_WITHIN_S": f"{within_s:.1f}"}
        try:
            done = self._running(container_id).execute([python, "-c", script], asked, within_s + 30)
        except EngineError:
            if not self.facts(container_id).running:
                return False
            raise
        return done.exit_code == 0 and self.facts(container_id).running

    def _running(self, container_id: str) -> RunningContainer:
        with translated(f"look for container {container_id[:12]}"):
            return RunningContainer(self._client.containers.get(container_id))

    def logs(self, container_id: str, *, tail: int) -> str:
        """The last lines that it wrote."""
        return self._running(container_id).logs(tail=tail)

    def restart_always(self, container_id: str) -> None:
        """Have the engine start it again after a crash and after its own restart."""
        with translated(f"set the restart policy of container {container_id[:12]}"):
            self._client.api.update_container(container_id, restart_policy=_RESTART)

    def rename(self, container_id: str, name: str) -> None:
        """Give it another name, at once."""
        with translated(f"rename container {container_id[:12]} to {name}"):
            self._client.api.rename(container_id, name)

    def stop(self, container_id: str, *, within_s: int) -> int:
        """Tell it to end and wait; its exit code, 137 where it was killed at last."""
        with translated(f"stop container {container_id[:12]}"):
            self._client.api.stop(container_id, timeout=within_s)
        return self.facts(container_id).exit_code

    def remove(self, container_id: str) -> None:
        """Remove it, running or not; nothing if it is gone. One that is going already is waited for."""
        with translated(f"remove container {container_id[:12]}"), suppress(docker.errors.NotFound):
            try:
                self._client.api.remove_container(container_id, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code != 409 or "already in progress" not in str(error.explanation):
                    raise
                give_up_at = time.monotonic() + _GOING_S
                while time.monotonic() < give_up_at:
                    self._client.api.inspect_container(container_id)
                    time.sleep(0.05)

    @contextmanager
    def locked(self, name: str, image: str, python: str, labels: Mapping[str, str]) -> Iterator[None]:
        """Hold the name against everybody who uses this engine, for as long as this process lives.

        The lock is a container that reads its standard input from us: when we are gone, so is it.

        Raises:
            DeployUnderWay: somebody else holds it.
        """
        made = self._lock(name, image, python, labels)
        try:
            with translated(f"hold the lock {name}"):
                stream = self._client.api.attach_socket(made, params={"stdin": 1, "stream": 1})
            # The SDK's wrapper does not close what it wraps.
            with closing(getattr(stream, "_sock", stream)), closing(stream):
                with translated(f"start the lock {name}"):
                    self._client.api.start(made)
                yield
        finally:
            self.remove(made)

    def _lock(self, name: str, image: str, python: str, labels: Mapping[str, str]) -> str:
        give_up_at = time.monotonic() + _LOCK_WAIT_S
        options = self._client.api.create_host_config(network_mode="none", auto_remove=True, **_SHORT_LIVED)
        while True:
            try:
                made = self._client.api.create_container(
                    image,
                    name=name,
                    labels=dict(labels),
                    entrypoint=[python, "-I", "-S", "-c", _HOLD],
                    command=[],
                    stdin_open=True,
                    use_config_proxy=False,
                    host_config=options,
                )
                return str(made["Id"])
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise EngineError(
                        f"the engine cannot make the lock {name}: {error.explanation}"
                    ) from error
                if time.monotonic() > give_up_at:
                    self._give_up(name, error)
                    give_up_at += _LOCK_WAIT_S
            time.sleep(0.1)

    def _give_up(self, name: str, error: Exception) -> None:
        holder = self.find(name)
        if holder is None:
            return
        if holder.status == "created" and self._label in holder.labels:
            self.remove(holder.id)  # whoever made it did not live to start it
            return
        raise DeployUnderWay(
            f"another command holds the lock {name}", hint="wait until it is done; `docker ps` shows the lock"
        ) from error


def _host_options(spec: ContainerSpec) -> dict[str, Any]:
    published = {}
    if spec.publish:
        inside, address, outside = spec.publish
        published["port_bindings"] = {inside: (address, outside)}
    return {
        "network_mode": spec.network,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": dict(spec.tmpfs),
        "sysctls": dict(spec.sysctls) or None,
        "pids_limit": spec.pids,
        "mem_limit": spec.memory_bytes or None,
        # No swap on top: a model that does not fit is to end, not to crawl.
        "memswap_limit": spec.memory_bytes or None,
        "nano_cpus": round(spec.cpus * 1e9) or None,
        "restart_policy": _RESTART if spec.restart else None,
        **published,
    }


def moment_of(text: str) -> datetime:
    """An engine's time, RFC 3339 with up to nine decimals (`Z` or an offset), in UTC to the microsecond.

    Raises:
        EngineError: it is none.
    """
    try:
        # Python 3.11 reads as many decimals as there are, and keeps six.
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise EngineError(f"the engine answered with a time that is none: {text[:80]!r}") from error


def _facts(container: Container) -> ContainerFacts:
    attrs: dict[str, Any] = container.attrs
    state, host = attrs["State"], attrs["HostConfig"]
    return ContainerFacts(
        id=str(container.id),
        name=str(attrs["Name"]).removeprefix("/"),
        image=str(attrs["Image"]),
        status=str(state["Status"]),
        exit_code=int(state["ExitCode"]),
        started_at=moment_of(str(state["StartedAt"])),
        network=str(host["NetworkMode"]),
        published=_published(attrs["NetworkSettings"].get("Ports") or host.get("PortBindings") or {}),
        labels=dict(attrs["Config"]["Labels"] or {}),
        environment=tuple(attrs["Config"]["Env"] or ()),
        memory_bytes=int(host["Memory"] or 0),
        cpus=(host.get("NanoCpus") or 0) / 1e9,
        pids=int(host.get("PidsLimit") or 0),
    )


def _published(ports: Mapping[str, Sequence[Mapping[str, str]] | None]) -> str:
    for bound in ports.values():
        if bound:
            address, port = bound[0]["HostIp"], bound[0]["HostPort"]
            return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return ""


def door_command(python: str) -> tuple[str, ...]:
    """The command of a container that holds a port open and does nothing else."""
    script = (files("runbake.runtime") / "_door.py").read_text(encoding="utf-8")
    return (python, "-I", "-S", "-c", script)
