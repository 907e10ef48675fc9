"""The registry and the MLflow server of the demo: kept running until they are released."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import DockerException, NotFound

from lab.engine import NAME as ENGINE
from lab.engine import find_engine, stop_engine
from lab.keeper import ADDRESS_FILE
from lab.packages import can_install, ensure_packages, find_program
from lab.ports import port_for, port_near
from lab.process import identity_of, start_in_background, stop_process, wait_until
from lab.state import Service, State, container_name
from lab.story import Story

REGISTRY = "registry"
MLFLOW = "mlflow"
REGISTRY_PACKAGES = {"docker-registry": "docker-registry"}
REGISTRY_IMAGE = "registry:2"
REGISTRY_CONTAINER = container_name("runbake-lab-registry")
_REGISTRY_PORT = 5000
_MLFLOW_PORT = 5001
_START_DEADLINE_S = 120.0
_STOP_DEADLINE_S = 20.0
_ROOT = Path(__file__).resolve().parent.parent


def ensure_registry(state: State, client: docker.DockerClient, *, user: str, story: Story) -> str:
    """`127.0.0.1:PORT` of a registry: Debian's program where it is or can be installed, else a container.

    Raises:
        LabError: neither can be had, or it did not start; the message has its log.
    """
    running = state.find(REGISTRY)
    if running is not None:
        state.use(REGISTRY, user)
        story.note(REGISTRY, f"{running.address} is running")
        return running.address
    # A machine with Docker but without the program keeps its packages as they are.
    if find_program("docker-registry") is None and (state.find(ENGINE) is None or not can_install()):
        with suppress(DockerException):
            return _registry_container(client, story)
    ensure_packages(REGISTRY_PACKAGES, log=state.directory / "apt.log", story=story)
    return _keep(state, REGISTRY, _REGISTRY_PORT, user=user, story=story)


def _registry_container(client: docker.DockerClient, story: Story) -> str:
    with suppress(NotFound):
        container = client.containers.get(REGISTRY_CONTAINER)
        container.start()
        container.reload()
        published = container.ports["5000/tcp"] or []
        address = f"127.0.0.1:{published[0]['HostPort']}"
        story.note(REGISTRY, f"{address} is running")
        return address
    port = port_near(_REGISTRY_PORT)
    with story.step(REGISTRY, f"docker run {REGISTRY_IMAGE} at 127.0.0.1:{port}"):
        client.containers.run(
            REGISTRY_IMAGE, name=REGISTRY_CONTAINER, detach=True, ports={"5000/tcp": ("127.0.0.1", port)}
        )
    return f"127.0.0.1:{port}"


def ensure_mlflow(state: State, *, user: str, story: Story) -> str:
    """`http://127.0.0.1:PORT` of an MLflow server on sqlite, from this environment.

    Raises:
        LabError: it did not start; the message has its log.
    """
    running = state.find(MLFLOW)
    if running is not None:
        state.use(MLFLOW, user)
        story.note(MLFLOW, f"{running.address} is running")
        return running.address
    return _keep(state, MLFLOW, _MLFLOW_PORT, user=user, story=story)


def _keep(state: State, kind: str, preferred_port: int, *, user: str, story: Story) -> str:
    """Start the server in a keeper process (see `lab.keeper`) and wait until it answers."""
    directory = state.directory / kind
    directory.mkdir(parents=True, exist_ok=True)
    address_file = directory / ADDRESS_FILE
    address_file.unlink(missing_ok=True)
    log = directory / "keeper.log"
    with port_for(preferred_port) as port, story.step(kind, f"start at 127.0.0.1:{port}"):
        pid = start_in_background(
            [sys.executable, "-m", "lab.keeper", kind, str(directory), str(port)], log=log, cwd=_ROOT
        )
        service = Service(name=kind, pid=pid, identity=identity_of(pid) or "", address="", users=(user,))
        state.put(service)
        wait_until(address_file.exists, pid=pid, log=log, what=kind, deadline_s=_START_DEADLINE_S)
        address = address_file.read_text()
        state.put(
            Service(name=kind, pid=pid, identity=service.identity, address=address, users=service.users)
        )
    return address


def running_services(state: State | None = None) -> dict[str, str]:
    """Name to address of what this checkout's lab keeps running."""
    return {name: service.address for name, service in (state or State()).services().items()}


def release(state: State, *, user: str, story: Story) -> None:
    """Give up what `user` used; what nobody uses now is stopped, the engine last."""
    if user == "demo":
        _remove_registry_container(story)
    for service in state.release(user):
        if service.name == ENGINE and (others := _running_containers()):
            # Of another checkout, or the user's own; whoever stops next without them stops the engine too.
            story.note(ENGINE, f"kept for what runs in it: {', '.join(others)}")
            continue
        with story.step(service.name, "stop"):
            if service.name == ENGINE:
                stop_engine(service)
            else:
                stop_process(service.pid, service.identity, deadline_s=_STOP_DEADLINE_S)
            state.forget(service.name)


def _running_containers() -> tuple[str, ...]:
    client = find_engine()
    return (
        tuple(str(container.name) for container in client.containers.list(ignore_removed=True))
        if client
        else ()
    )


def _remove_registry_container(story: Story) -> None:
    client = find_engine()
    if client is None:
        return
    with suppress(NotFound):
        container = client.containers.get(REGISTRY_CONTAINER)
        with story.step(REGISTRY, "remove its container"):
            container.remove(force=True, v=True)
