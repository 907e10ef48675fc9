"""One request and its answer on a connection, as ASGI sees them.

An answer whose body is known leaves in one write, head and body together.

Source: RFC 9112 (HTTP/1.1), sections 6.3 (length of a message) and 9.3 (persistence); ASGI 3, HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbake_serving.connection import Connection

Message = MutableMapping[str, Any]

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BODILESS = (204, 304)
_MOST_BUFFERED = 256 << 10
"""Bytes of a body that wait for the application; then the caller has to wait."""


class Exchange:
    """What the application receives and sends for one request."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_expects_continue",
        "_head",
        "_left",
        "_parts",
        "_size",
        "_waiter",
        "answered",
        "gone",
        "keep_alive",
        "old",
        "scope",
        "started",
        "whole",
    )

    def __init__(
        self, connection: Connection, scope: dict[str, Any], *, keep_alive: bool, expects_continue: bool
    ) -> None:
        self._connection, self.scope = connection, scope
        self.keep_alive, self._expects_continue = keep_alive, expects_continue
        self.old = scope["http_version"] == "1.0"
        self._parts: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._head: Message | None = None
        self._chunked = False
        self._left: int | None = None
        self.whole = self.gone = self.started = self.answered = False

    # --- from the connection -------------------------------------------------------------------------------

    def feed(self, part: bytes) -> None:
        """Take a part of the body; what comes after the answer is dropped."""
        if self.answered:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > _MOST_BUFFERED:
            self._connection.pause_reading()
        self._wake()

    def complete(self) -> None:
        """The body is there to its end."""
        self.whole = True
        self.scope["state"]["whole"] = True
        self._wake()

    def leave(self) -> None:
        """The caller is gone, or the connection."""
        self.gone = True
        self.scope["state"]["gone"] = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- ASGI ----------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next part of the body, or `http.disconnect` after the answer or the caller's leaving."""
        if self._expects_continue and not self.started and not self._parts and not self.whole:
            self._expects_continue = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._parts or self.whole or self.gone or self.answered):
            self._connection.resume_reading()
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        if self.gone or self.answered or (self.whole and self._size < 0):
            return await self._disconnect()
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        # Below zero: the end was told already.
        self._size = -1 if self.whole else 0
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    async def _disconnect(self) -> Message:
        while not (self.gone or self.answered):
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the head or a part of the answer.

        Raises:
            RuntimeError: messages out of order, or an answer of another length than it says: a bug.
        """
        if self.gone:
            return
        if message["type"] == "http.response.start":
            if self._head is not None:
                raise RuntimeError("an answer has one head")
            self._head = message
            return
        if self._head is None or self.answered:
            raise RuntimeError("an answer begins with its head, and ends once")
        body, more = message.get("body", b""), bool(message.get("more_body"))
        if self.started:
            self._connection.write(self._framed(body, more))
        else:
            self.started = True
            head = self._head_bytes(self._head, None if more else len(body))
            self._connection.write(head + self._framed(body, more))
        if not more:
            if self._left:
                raise RuntimeError("the answer is shorter than it says")
            self.answered = True
            self._wake()
            self._connection.answered(self)
        elif self._connection.writing_paused:
            await self._connection.drained()

    def _head_bytes(self, head: Message, length: int | None) -> bytes:
        """The head of an answer of `length` bytes, of an unknown length if None."""
        status, bare = int(head["status"]), False
        parts, lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.date], 2
        declared: int | None = None
        for name, value in head.get("headers", ()):
            if name == b"content-length":
                declared = int(value)
            elif name == b"connection":
                self.keep_alive = self.keep_alive and value.lower() != b"close"
                continue
            elif name == b"transfer-encoding":
                continue
            parts += (name, b": ", value, b"\r\n")
            lines += 1
        bare = self.scope["method"] == "HEAD" or status in _BODILESS
        if declared is None and length is not None and status not in _BODILESS and not (bare and not length):
            declared = length
            parts.append(b"content-length: %d\r\n" % length)
            lines += 1
        self._left = 0 if bare else declared
        self._chunked = declared is None and not bare and not self.old
        if self._chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
            lines += 1
        # What is left of the body would be read as the next request; without a length only the end tells.
        self.keep_alive = (
            self.keep_alive and self.whole and (bare or declared is not None or self._chunked)
        ) and not self._connection.draining
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
            lines += 1
        elif self.old:
            parts.append(b"connection: keep-alive\r\n")
            lines += 1
        parts.append(b"\r\n")
        written = b"".join(parts)
        if written.count(b"\n") != lines + 1 or written.count(b"\r") != lines + 1:
            raise RuntimeError("a header holds the end of a line")
        return written

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._left is not None and self.scope["method"] != "HEAD":
            if len(body) > self._left:
                raise RuntimeError("the answer is longer than it says")
            self._left -= len(body)
            return body
        if self.scope["method"] == "HEAD":
            return b""
        if not self._chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk if more else chunk + b"0\r\n\r\n"
