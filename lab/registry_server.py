"""A real registry: Debian's `docker-registry`, on a free loopback port, stopped at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

PROGRAM = "docker-registry"
_STOP_S = 20


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_registry(
    directory: Path, *, deadline_s: float, port: int = 0, htpasswd: str = ""
) -> Iterator[str]:
    """`127.0.0.1:PORT` of a registry that keeps its data under `directory`.

    `htpasswd` is a line of an htpasswd file with a bcrypt hash; "" lets everybody in.

    Raises:
        RuntimeError: the program is missing, or did not answer in time; the message has the end of its log.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise RuntimeError(f"{PROGRAM} is not installed; on Debian: apt-get install {PROGRAM}")
    address = f"127.0.0.1:{port or free_port()}"
    config = directory / "registry.yml"
    directory.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(_config(directory, address, htpasswd)))
    log = directory / "registry.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [program, "serve", str(config)], stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait(address, process, log, deadline_s)
        yield address
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        # It waits for its clients; nobody waits for it.
        process.kill()
        process.wait()


def _config(directory: Path, address: str, htpasswd: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": address},
    }
    if htpasswd:
        users = directory / "htpasswd"
        users.write_text(htpasswd + "\n")
        document["auth"] = {"htpasswd": {"realm": "lab", "path": str(users)}}
    return document


def _wait(address: str, process: subprocess.Popen[bytes], log: Path, deadline_s: float) -> None:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"http://{address}/v2/", timeout=2).status_code in (200, 401):
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    end = log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"{PROGRAM} at {address} does not answer after {deadline_s:.0f} s:\n{end}")
