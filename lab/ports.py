"""Ports on the loopback address."""

from __future__ import annotations

import socket


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
