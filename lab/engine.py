"""A Docker engine: the one that is there, else Debian's, installed and started by us."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import docker
import requests
from docker.context import ContextAPI
from docker.errors import DockerException

from lab.errors import LabError
from lab.packages import ensure_packages, find_program
from lab.process import identity_of, start_in_background, stop_process, wait_until
from lab.state import Service, State
from lab.story import Story

NAME = "engine"
# Where Debian's engine is wanted its registry is too, and most likely no hub is near; apt runs once for all.
PACKAGES = {"docker.io": "dockerd", "docker-registry": "docker-registry", "mmdebstrap": "mmdebstrap"}
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_PID_FILE = Path("/var/run/docker.pid")
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0


def find_engine() -> docker.DockerClient | None:
    """A client of the engine that answers: DOCKER_HOST, else the default socket, else Docker's context."""
    for address in _addresses():
        with suppress(DockerException, requests.RequestException):
            client = _client(address)
            client.ping()
            return client
    return None


@cache
def _client(address: str) -> docker.DockerClient:
    """One for each address and process: a client that is only dropped leaves its socket to the collector."""
    return docker.DockerClient(base_url=address, timeout=600)


def engine() -> docker.DockerClient:
    """A client of the engine.

    Raises:
        LabError: none answers.
    """
    client = find_engine()
    if client is None:
        raise LabError("no Docker engine answers\ntry: python -m lab up")
    return client


def _addresses() -> tuple[str, ...]:
    if "DOCKER_HOST" in os.environ:
        return (os.environ["DOCKER_HOST"],)
    context = ContextAPI.get_current_context()
    host = getattr(context, "Host", None)
    return (_DEFAULT_SOCKET, *([host] if isinstance(host, str) and host != _DEFAULT_SOCKET else []))


def ensure_engine(state: State, *, user: str, story: Story) -> docker.DockerClient:
    """An engine that answers; one that we started keeps running until its last user releases it.

    Raises:
        LabError: there is none and none can be installed, or it did not start; the message has its log.
    """
    client = find_engine()
    if client is not None:
        state.use(NAME, user)
        story.note("engine", f"Docker {client.version()['Version']} is running")
        return client
    if "DOCKER_HOST" in os.environ:
        raise LabError(
            f"no Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}\ntry: unset DOCKER_HOST"
        )
    ensure_packages(PACKAGES, log=state.directory / "apt.log", story=story)
    # The package may have started it, where there is an init system.
    return find_engine() or _start(state, user, story)


def _start(state: State, user: str, story: Story) -> docker.DockerClient:
    log = state.directory / "dockerd.log"
    with story.step("engine", "start dockerd"):
        _remove_stale_pid_file()
        pid = start_in_background([find_program("dockerd") or "dockerd"], log=log)
        state.put(
            Service(
                name=NAME, pid=pid, identity=identity_of(pid) or "", address=_DEFAULT_SOCKET, users=(user,)
            )
        )
        wait_until(
            lambda: find_engine() is not None, pid=pid, log=log, what="dockerd", deadline_s=_START_DEADLINE_S
        )
    return engine()


def stop_engine(service: Service) -> None:
    """Stop the engine that we started; it stops its containers first."""
    stop_process(service.pid, service.identity, deadline_s=_STOP_DEADLINE_S)


def _remove_stale_pid_file() -> None:
    """dockerd refuses to start when its file, left by a killed one, names a number that is in use again."""
    with suppress(OSError, ValueError):
        name = Path(f"/proc/{int(_PID_FILE.read_text())}/comm").read_text().strip()
        if name != "dockerd":
            _PID_FILE.unlink()
