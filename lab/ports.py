"""Ports on the loopback address."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def port_near(preferred: int) -> int:
    """`preferred` when it is free on 127.0.0.1, else another free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


@contextmanager
def port_for(preferred: int) -> Iterator[int]:
    """A port near `preferred` for a server that listens on it before the block ends.

    A server takes seconds to listen. Meanwhile no other lab of this user, in another checkout, chooses: it
    would choose the same port, and take the first one's answers for its own server's.
    """
    with Path(tempfile.gettempdir(), f"runbake-lab-{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield port_near(preferred)
