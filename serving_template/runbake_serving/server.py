"""Accepts connections, ends those that are too slow, and drains without losing a caller.

Draining. A connection that the kernel has accepted for us waits in the listening socket's queue; closing the
socket would reset it. So the socket first refuses new callers (a filter drops their first packet, and they
try again where somebody else listens), then all that wait are taken, and then it is closed. A kept-alive
connection has its current answer and one more, which says `Connection: close`; one that asks nothing is
closed.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from runbake_serving.connection import Connection
from runbake_serving.exchange import Exchange
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.syn_filter import refuse_callers

_SWEEP_S = 1.0
_BACKLOG = 2048
_HANDSHAKE_S = 0.05
"""Callers whose handshake is under way when we stop get so long to finish it."""
_IDLE_S = 1.5
"""A connection that asks nothing for so long while we drain is closed."""
_LAST_CALL_S = 0.5
"""Requests that were cancelled at the end of the grace time get so long to end."""

Asgi = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long callers and requests are waited for, in seconds, and how many connections are held."""

    slow_s: float
    idle_s: float
    grace_s: float
    connections: int


class Server:
    """Serves one ASGI application on sockets that are bound.

    `refusal(status, message)` is the whole answer to what cannot become a request.
    """

    def __init__(
        self,
        app: Asgi,
        sockets: Sequence[socket.socket],
        patience: Patience,
        refusal: Callable[[int, str], bytes],
    ) -> None:
        self._app, self._sockets, self._patience = app, list(sockets), patience
        self.refusal = refusal
        self.loop = asyncio.get_running_loop()
        self.most_connections = patience.connections
        self.connections: set[Connection] = set()
        self.draining = False
        self.date = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted: set[asyncio.Task[Any]] = set()
        self.address = _address_of(sockets)

    async def serve(self, stop: asyncio.Event) -> bool:
        """Answer until `stop` is set and all is answered; False where requests were cut off."""
        self._tick()
        for listener in self._sockets:
            listener.setblocking(False)
            listener.listen(_BACKLOG)
            self.loop.add_reader(listener, self._accept, listener)
        await stop.wait()
        return await self._drain()

    # --- callers -------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        # One at a time: the other workers take the next ones.
        if len(self.connections) <= self.most_connections + _BACKLOG:
            self._take(listener)

    def _take(self, listener: socket.socket) -> bool:
        """Take one connection; False if none waits."""
        try:
            caller, _ = listener.accept()
        except ConnectionAbortedError:
            return True
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._pause(listener, error)
            return False
        caller.setblocking(False)
        task = self.loop.create_task(self._welcome(caller))
        self._accepted.add(task)
        task.add_done_callback(self._accepted.discard)
        return True

    async def _welcome(self, caller: socket.socket) -> None:
        with suppress(OSError):
            await self.loop.connect_accepted_socket(lambda: Connection(self), caller)

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        # Asked again at once, the loop would spin; what waits keeps waiting.
        LOGGER.error("no more connections can be taken", extra={"fields": {"problem": error.strerror}})
        self.loop.remove_reader(listener)
        self.loop.call_later(_SWEEP_S, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if not self.draining:
            self.loop.add_reader(listener, self._accept, listener)

    # --- requests ------------------------------------------------------------------------------------------

    def start(self, connection: Connection, exchange: Exchange) -> None:
        """Have one request answered."""
        task = self.loop.create_task(self._answer(connection, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _answer(self, connection: Connection, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        finally:
            if not exchange.answered:
                connection.failed()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOGGER.error("a request was not answered", extra={"fields": cause_of(error)})

    # --- time ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        now_s, patience = self.loop.time(), self._patience
        for connection in tuple(self.connections):
            connection.overdue(now_s, patience.slow_s, patience.idle_s)
        self._ticking = self.loop.call_later(_SWEEP_S, self._tick)

    # --- the end -------------------------------------------------------------------------------------------

    async def _drain(self) -> bool:
        give_up_at = self.loop.time() + self._patience.grace_s
        self.draining = True
        for listener in self._sockets:
            self.loop.remove_reader(listener)
            refuse_callers(listener)
        self._take_all()
        for connection in self.connections:
            connection.draining = True
        await asyncio.sleep(_HANDSHAKE_S)
        self._take_all()
        for listener in self._sockets:
            listener.close()
        if self._accepted:
            await asyncio.wait(self._accepted)
        complete = await self._all_answered(give_up_at)
        self._ticking.cancel()
        return complete

    def _take_all(self) -> None:
        for listener in self._sockets:
            while self._take(listener):
                pass

    async def _all_answered(self, give_up_at: float) -> bool:
        idle_until = min(self.loop.time() + _IDLE_S, give_up_at)
        while self.connections or self._tasks:
            now_s = self.loop.time()
            if now_s >= idle_until:
                for connection in tuple(self.connections):
                    if connection.idle:
                        connection.close()
            if now_s >= give_up_at:
                return await self._cut_off()
            await asyncio.sleep(0.02)
        return True

    async def _cut_off(self) -> bool:
        """Cancel what is left; True where nothing was being answered."""
        left = tuple(self._tasks)
        if left:
            LOGGER.error(
                "grace time is over: requests are cut off", extra={"fields": {"requests": len(left)}}
            )
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_CALL_S)
        for connection in tuple(self.connections):
            connection.abort()
        return not left


def _address_of(sockets: Sequence[socket.socket]) -> tuple[str, int | None] | None:
    if not sockets:
        return None
    name = sockets[0].getsockname()
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else (str(name), None)
