"""uvicorn's HTTP/1.1 connection, with an end to callers that are too slow and to connections that drain.

What is added to uvicorn: a limit of time for heads and for callers that do not read, a limit of bytes for
heads, refusals in our form and after the answers that come first, bodies that follow the offer of another
protocol, one more answer on a kept-alive connection while the server drains, and an answer in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from runbake_serving.http.wire import Wire

_MOST_HEAD = 64 << 10
"""Bytes of a request's line and headers, or of chunks' extensions and trailers."""
_MOST_PIPELINED = 100
"""Requests of one connection that wait for the one before them."""
_LINGER_S = 2.0
"""What a caller still sends after the last answer is dropped for so long."""

TOO_SLOW = (408, "the request did not arrive in time")
TOO_LARGE = (431, "the request's line and headers are too large")
UNREADABLE = (400, "this is not HTTP/1.1")
TOO_MANY = (503, "too many connections")


class TooManyPipelined(Exception):
    """More was asked at once than waits here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long callers and requests are waited for, in seconds, and how many connections are held."""

    slow_s: float
    idle_s: float
    grace_s: float
    connections: int


class State(ServerState):
    """What all connections of a server share; `refusal(status, message)` is a whole answer."""

    def __init__(self, patience: Patience, refusal: Callable[[int, str], bytes]) -> None:
        super().__init__()
        self.patience, self.refusal = patience, refusal
        self.draining = False


class Connection(HttpToolsProtocol):
    """A caller's connection.

    In the scope's `state` it tells the application whether the body is `whole`, and that the caller is
    `gone`.
    """

    server_state: State
    transport: Wire

    def __init__(
        self,
        config: Config,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # A request after one that ends the connection is not answered: other servers drop it too.
        self.parser = httptools.HttpRequestParser(self)
        self._dry_bytes, self._advanced = 0, False
        self._in_head, self._began, self._complete = False, False, True
        self._deaf = self._resumes = False
        self._framing: tuple[bytes, bytes] | None = None
        self._running: RequestResponseCycle | None = None
        self._since_s, self._unsent, self._fresh = self.loop.time(), 0, True

    # --- the connection ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(Wire(transport, self.loop, self._still_sends))
        if len(self.connections) > self.server_state.patience.connections:
            self._refuse(*TOO_MANY)

    def data_received(self, data: bytes) -> None:
        """Read requests, or drop what comes after the last answer."""
        if self._deaf or self.parser is None:
            return
        self._unset_keepalive_if_required()
        self._advanced = False
        try:
            while data:
                size, data = len(data), self._fed(data)
        except httptools.HttpParserError:
            if not self._deaf:
                self._refuse(*UNREADABLE)
            return
        # What advances nothing is counted: a head that does not end, or trailers, which nobody reads.
        self._dry_bytes = 0 if self._advanced else self._dry_bytes + size
        if self._dry_bytes > _MOST_HEAD:
            self._refuse(*TOO_LARGE)

    def _fed(self, data: bytes) -> bytes:
        """Read; what is left to read where another protocol is offered."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over()
            return data[upgrade.args[0] :]
        return b""

    def _pass_over(self) -> None:
        """Read on after the offer of another protocol: none is spoken here, and its request has a body still.

        The parser ends such a request with its head. A new one is told how the body is framed, and reads it.
        """
        self.parser = httptools.HttpRequestParser(self)
        if self._framing:
            self._resumes = True
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % self._framing)
            self._resumes = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application; nothing can be sent any more."""
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.scope["state"]["gone"] = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server drains: the answers that are under way say so, and one more of each connection."""
        for cycle in (self._running, self.cycle):
            # One that has begun can say nothing any more: its caller would ask again, and find us gone.
            if cycle is not None and not cycle.response_started:
                _say_close(cycle)

    # --- requests ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request's first byte."""
        if self._resumes:
            return
        self._began, self._since_s, self._complete = True, self.loop.time(), False
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a trailer is passed over (RFC 9112, 7.1.2: it is not to be taken for a header)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered; its body may follow."""
        if self._resumes:
            self._framing = None
            return
        self._in_head, self._advanced = False, True
        self._framing = self._framed() if self.parser.should_upgrade() else None
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_PIPELINED:
            self._hear_no_more()
        self.cycle.scope["state"]["whole"] = False
        if self.server_state.draining:
            _say_close(self.cycle)
        if not self.pipeline:
            self._running = self.cycle

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request's last byte; where another protocol is offered, the head's."""
        self._advanced = True
        if self._framing:
            return
        self._began, self._complete = False, True
        self.cycle.scope["state"]["whole"] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer was written: go on with the next."""
        self.transport.flush()
        self._fresh, self._since_s = False, self.loop.time()
        if self._running is not None and self._running.more_body:
            # What is left of the body would be read for nothing.
            self.transport.close()
        self._running = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()

    def _framed(self) -> tuple[bytes, bytes] | None:
        names = (b"transfer-encoding", b"content-length")
        return next(((name, value) for name, value in self.headers if name in names), None)

    # --- ends ----------------------------------------------------------------------------------------------

    def idle_s(self, now_s: float) -> float:
        """For how long nothing was asked that is not answered."""
        idle = self._running is None and not self._began and not self._deaf
        return now_s - self._since_s if idle else 0.0

    def overdue(self, now_s: float) -> None:
        """End what the caller neither sends nor takes; asked about once a second."""
        patience, waited_s = self.server_state.patience, now_s - self._since_s
        if unsent := self.transport.get_write_buffer_size():
            if unsent != self._unsent:
                self._unsent, self._since_s = unsent, now_s
            elif waited_s > patience.slow_s:
                self.transport.abort()
        elif self.transport.is_closing() or (self._deaf and self._running is None):
            if waited_s > _LINGER_S:
                self.transport.abort()
        elif self._running is None and self._began:
            if waited_s > patience.slow_s:
                self._refuse(*TOO_SLOW)
        elif self._running is None and self._fresh and waited_s > patience.slow_s:
            self.transport.close()

    def _still_sends(self) -> bool:
        """Asked when the connection shall close: then nothing more is heard."""
        sends = not self._complete
        self._deaf = self._deaf or sends
        return sends

    def _hear_no_more(self) -> None:
        """Answer what was asked before the request that has just begun; its caller may ask it elsewhere.

        Source: RFC 9112, section 9.3.2 (who pipelines asks again what was not answered).
        """
        self._deaf = True
        self.pipeline.popleft()
        _say_close(self.pipeline[0][0])
        raise TooManyPipelined

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot become a request, after what was asked before it; then hear no more."""
        self._deaf, self._since_s = True, self.loop.time()
        self.pipeline.clear()
        current = self._running
        if current is not None and not current.more_body:
            _say_close(current)
            return
        if current is None or not current.response_started:
            self.transport.write(self.server_state.refusal(status, message))
        if current is not None:
            current.disconnected = True
            current.message_event.set()
        self._complete = False
        self.transport.close()


def _say_close(cycle: RequestResponseCycle) -> None:
    """Let this be the connection's last answer, and say so: uvicorn before 0.50 closes without a word."""
    if cycle.keep_alive:
        cycle.keep_alive = False
        cycle.default_headers = [*cycle.default_headers, (b"connection", b"close")]
