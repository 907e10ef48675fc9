"""The sockets that a server is to listen on: shared on request only, and never half of them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from runbake_serving.errors import StartError
from runbake_serving.processes.supervisor import bound_sockets
from runbake_serving.settings import Settings


def close(sockets: tuple[socket.socket, ...]) -> None:
    for one in sockets:
        one.close()


def test_a_port_is_shared_only_by_those_that_all_agree() -> None:
    """With RUNBAKE_REUSE_PORT two servers listen on one port; without it the second does not start."""
    first = bound_sockets(Settings(host="127.0.0.1", port=0, reuse_port=True))
    port = int(first[0].getsockname()[1])
    try:
        second = bound_sockets(Settings(host="127.0.0.1", port=port, reuse_port=True))
        for one in (*first, *second):
            one.listen()
        close(second)
        with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
            bound_sockets(Settings(host="127.0.0.1", port=port))
    finally:
        close(first)


def test_a_server_alone_does_not_share() -> None:
    """A server of another model that was given the same port by mistake is refused, whatever it says."""
    first = bound_sockets(Settings(host="127.0.0.1", port=0))
    first[0].listen()
    try:
        port = int(first[0].getsockname()[1])
        with pytest.raises(StartError):
            bound_sockets(Settings(host="127.0.0.1", port=port, reuse_port=True))
    finally:
        close(first)


def test_a_probe_comes_beside_the_port(tmp_path: Path) -> None:
    """RUNBAKE_PROBE is a second socket; with RUNBAKE_UDS it is one, too, and there is no port."""
    with_port = bound_sockets(Settings(host="127.0.0.1", port=0, probe=tmp_path / "p"))
    without = bound_sockets(Settings(uds=tmp_path / "u", probe=tmp_path / "q"))
    try:
        assert [one.family for one in with_port] == [socket.AF_INET, socket.AF_UNIX]
        assert [one.getsockname() for one in without] == [str(tmp_path / "u"), str(tmp_path / "q")]
    finally:
        close((*with_port, *without))


def test_a_probe_that_cannot_be_bound_frees_the_port(tmp_path: Path) -> None:
    """The error names the path, and the port is not held any more."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = int(chosen.getsockname()[1])
    with pytest.raises(StartError, match="missing"):
        bound_sockets(Settings(host="127.0.0.1", port=port, probe=tmp_path / "missing" / "p"))
    close(bound_sockets(Settings(host="127.0.0.1", port=port)))
