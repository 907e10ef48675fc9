"""One HTTP/1.1 connection: bytes to requests, one answered after the other.

Why not a ready-made server: none of those at hand ends a caller that sends nothing, answers what waits in the
accept queue when it is told to stop, or lets a kept-alive connection have one more answer then; and an answer
costs them two writes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from runbake_serving.exchange import Exchange

if TYPE_CHECKING:
    from runbake_serving.server import Server

_MOST_HEAD = 64 << 10
"""Bytes of a request's line and headers."""
_LINGER_S = 2.0
"""After an answer that came before the body's end, what still comes is dropped for so long: closed at once,
the caller might lose the answer (RFC 9112, 9.6)."""

TOO_SLOW = (408, "the request did not arrive in time")
TOO_LARGE = (431, "the request's line and headers are too large")
UNREADABLE = (400, "this is not HTTP/1.1")
TOO_MANY = (503, "too many connections")


class Connection(asyncio.Protocol):
    """A caller's connection; `server` has what all of them share."""

    def __init__(self, server: Server) -> None:
        self._server, self.loop = server, server.loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._head_bytes, self._in_head, self._began = 0, False, False
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()
        self._expects_continue = self._resumes = False
        self._framing: tuple[bytes, bytes] | None = None
        self._reading_paused = self.writing_paused = False
        self._drainers: list[asyncio.Future[None]] = []
        self._newest: Exchange | None = None
        self._deaf = self._linger = False
        self._since_s, self._unsent = self.loop.time(), 0
        self._peer: Any = None
        self.fresh, self.draining = True, server.draining

    # --- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- for the type checker
        self._transport = transport
        self._peer = _address(transport.get_extra_info("peername"))
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.most_connections:
            self._refuse(*TOO_MANY)

    def data_received(self, data: bytes) -> None:
        """Read requests, or drop what comes after the last answer."""
        if self._deaf or self._transport is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over()
            if rest := data[upgrade.args[0] :]:
                self.data_received(rest)
            return
        except httptools.HttpParserError:
            self._refuse(*UNREADABLE)
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD:
                self._refuse(*TOO_LARGE)

    def _pass_over(self) -> None:
        """Read on after the offer of another protocol: none is spoken here, and its request has a body still.

        The parser ends such a request with its head. A new one is told how the body is framed, and reads it.
        """
        self._parser = httptools.HttpRequestParser(self)
        if self._framing:
            self._resumes = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % self._framing)
            self._resumes = False

    def connection_lost(self, _: Exception | None) -> None:
        """Tell the application; nothing can be sent any more."""
        self._server.connections.discard(self)
        self._transport = None
        for exchange in (self._exchange, *self._waiting):
            if exchange is not None:
                exchange.leave()
        self._waiting.clear()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The caller reads slower than we write."""
        self.writing_paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self.writing_paused = False
        for waiter in self._drainers:
            if not waiter.done():
                waiter.set_result(None)
        self._drainers.clear()
        self._start_next()

    # --- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request's first byte."""
        if self._resumes:
            return
        self._began, self._since_s = True, self.loop.time()
        self._in_head, self._head_bytes = True, 0
        self._url, self._headers, self._expects_continue = b"", [], False

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self._resumes:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The request can be answered; its body may follow."""
        if self._resumes:
            self._framing = None
            return
        self._in_head = False
        self._framing = self._framed() if self._parser.should_upgrade() else None
        exchange = Exchange(
            self,
            self._scope(),
            keep_alive=self._parser.should_keep_alive(),
            expects_continue=self._expects_continue,
        )
        self._newest = exchange
        self._waiting.append(exchange)
        if self._exchange is not None:
            self.pause_reading()  # one after the other
        self._start_next()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._newest is not None:
            self._newest.feed(body)

    def on_message_complete(self) -> None:
        """The request's last byte; where another protocol is offered, the head's."""
        if self._framing:
            return
        self._began = False
        if self._newest is not None:
            self._newest.complete()

    def _framed(self) -> tuple[bytes, bytes] | None:
        names = (b"transfer-encoding", b"content-length")
        return next(((name, value) for name, value in self._headers if name in names), None)

    def _scope(self) -> dict[str, Any]:
        target = httptools.parse_url(self._url)
        raw_path = target.path or b"/"
        path = raw_path.decode("ascii", "replace")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._parser.get_http_version(),
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": target.query or b"",
            "root_path": "",
            "headers": self._headers,
            "client": self._peer,
            "server": self._server.address,
            "state": {},
        }

    # --- for the exchange ----------------------------------------------------------------------------------

    @property
    def date(self) -> bytes:
        """The line of a head that tells the time."""
        return self._server.date

    def write(self, data: bytes) -> None:
        """Send; the transport keeps what the caller does not take yet."""
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the caller has taken enough."""
        waiter = self.loop.create_future()
        self._drainers.append(waiter)
        await waiter

    def pause_reading(self) -> None:
        """Let the caller wait with what it sends."""
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        """The answer was written: go on, or end the connection."""
        self._exchange, self.fresh = None, False
        self._since_s = self.loop.time()
        if exchange.keep_alive:
            self._start_next()
            return
        self._waiting.clear()
        self._end(linger=not exchange.whole)

    def failed(self) -> None:
        """The application ended without an answer: a bug, which the log tells."""
        if self._transport is not None:
            self._transport.abort()

    def _start_next(self) -> None:
        # An answer that the caller does not take is not followed by others.
        if self._exchange is not None or self.writing_paused:
            return
        if self._waiting:
            self._exchange = self._waiting.popleft()
            self._server.start(self, self._exchange)
        else:
            self.resume_reading()

    # --- ends ----------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing was asked that is not answered."""
        return self._exchange is None and not self._began and not self._linger

    def close(self) -> None:
        """End an idle connection."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it whatever there is to send."""
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now_s: float, timeout_s: float, idle_s: float) -> None:
        """End what the caller neither sends nor takes; asked about once a second."""
        if self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            if unsent != self._unsent:
                self._unsent, self._since_s = unsent, now_s
            elif now_s - self._since_s > timeout_s:
                self._transport.abort()
            return
        self._unsent = 0
        waited_s = now_s - self._since_s
        if self._linger:
            if waited_s > _LINGER_S:
                self._transport.abort()
        elif self._exchange is None and self._began:
            if waited_s > timeout_s:
                self._refuse(*TOO_SLOW)
        elif self._exchange is None and waited_s > (timeout_s if self.fresh else idle_s):
            self._transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot become a request, after what was asked before it; then hear no more."""
        self._deaf = True
        self._waiting.clear()
        current = self._exchange
        if current is not None and current.whole:
            current.keep_alive = False
            return
        if current is None or not current.started:
            self.write(self._server.refusal(status, message))
        if current is not None:
            current.leave()
        self._end(linger=True)

    def _end(self, *, linger: bool) -> None:
        if self._transport is None:
            return
        if not linger or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._deaf = self._linger = True
        self._since_s = self.loop.time()
        self.resume_reading()
        self._transport.write_eof()


def _address(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
