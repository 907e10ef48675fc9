"""A transport that sends head and body of an answer in one piece, and ends so that the caller has both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_MOST_HELD = 64 << 10
"""Bytes that wait for the end of the loop's turn at most."""


class Wire(asyncio.Transport):
    """Holds what is written until the loop's turn ends, or `flush`; the rest is the transport's own.

    `stays` is asked before the connection is closed: while the caller still sends, closing it would reset it,
    and the answer might be lost on the way. Then only our side ends (RFC 9112, 9.6).
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stays: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._transport, self._loop, self._stays = transport, loop, stays
        self._held: list[bytes | bytearray | memoryview] = []
        self._held_bytes = 0
        self._turn: asyncio.Handle | None = None
        self._ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send in this turn of the loop."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _MOST_HELD:
            self.flush()
        elif self._turn is None:
            self._turn = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send now."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._held:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held, self._held_bytes = [], 0
            if not self._ended:
                self._transport.write(data)

    def close(self) -> None:
        """Send what is held, and close; while the caller still sends only say that we do not any more."""
        self.flush()
        if not self._stays() or self._transport.is_closing() or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._ended:
            self._ended = True
            self._transport.write_eof()

    def abort(self) -> None:
        """Close whatever there is to send."""
        self._held, self._held_bytes = [], 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """Nothing more can be sent."""
        return self._ended or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport says."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Let the caller wait."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, where there is something to read on from."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that the caller has not taken yet."""
        return self._held_bytes + self._transport.get_write_buffer_size()
