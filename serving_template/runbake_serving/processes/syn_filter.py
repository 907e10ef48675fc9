"""A listening socket that takes no new callers, and still hands over those that it has.

TCP: a filter on the socket drops each packet that only begins a connection. The caller's kernel sends it
again after a second, and then another socket of the port has it, or nobody. Unix: the receiving half is shut
down, and connecting fails at once.

Source: Linux, Documentation/networking/filter.rst (classic BPF, SO_ATTACH_FILTER needs no privilege);
net/ipv4/tcp_ipv4.c (a listener's filter sees the packet from its TCP header on); net/unix/af_unix.c.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress

_SO_ATTACH_FILTER = 26
_FLAGS_AT, _SYN, _ACK = 13, 0x02, 0x10
# code, jump if true, jump if false, operand
_PROGRAM = (
    (0x30, 0, 0, _FLAGS_AT),  # load the byte of flags
    (0x54, 0, 0, _SYN | _ACK),  # and
    (0x15, 0, 1, _SYN),  # equal?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


def refuse_callers(listener: socket.socket) -> None:
    """Let nobody new in; where the system cannot do that, nothing changes."""
    with suppress(OSError):
        if listener.family == socket.AF_UNIX:
            listener.shutdown(socket.SHUT_RD)
        elif sys.platform == "linux":
            _attach(listener)


def _attach(listener: socket.socket) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _PROGRAM))
    # struct sock_fprog: a length, and the program's address at a pointer's alignment.
    program = struct.pack("HP", len(_PROGRAM), ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
