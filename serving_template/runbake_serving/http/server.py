"""uvicorn's server, with a drain that loses no caller and a look at slow ones once a second.

Draining. A connection that the kernel has accepted for us waits in the listening socket's queue; closing the
socket would reset it. So the socket first refuses new callers (a filter drops their first packet, and they
try again where somebody else listens), then all that wait are taken, and then it is closed. A kept-alive
connection has its current answer and one more, which says `Connection: close`; one that asks nothing is
closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from runbake_serving.http.connection import Connection, Patience, State
from runbake_serving.log import LOGGER
from runbake_serving.processes.syn_filter import refuse_callers

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


class Server(uvicorn.Server):
    """Serves one ASGI application on sockets that are bound.

    `refusal(status, message)` is the whole answer to what cannot become a request.
    """

    server_state: State

    def __init__(
        self,
        app: Asgi,
        sockets: Sequence[socket.socket],
        patience: Patience,
        refusal: Callable[[int, str], bytes],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=patience.idle_s,  # type: ignore[arg-type]  # seconds for call_later
            )
        )
        self.server_state = State(patience, refusal)
        self._sockets, self._stop, self._complete = list(sockets), asyncio.Event(), True

    @property
    def draining(self) -> bool:
        """Nobody new is let in."""
        return self.server_state.draining

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server_state.connections)

    async def serve_until(self, stop: asyncio.Event) -> bool:
        """Answer until `stop` is set and all is answered; False where requests were cut off."""
        self._stop = stop
        await self.serve(self._sockets)
        return self._complete

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the worker."""
        yield

    async def main_loop(self) -> None:
        """Once a second: the date, and the slow ones; until told to stop."""
        while not self._stop.is_set():
            await self.on_tick(0)
            self._sweep()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _SWEEP_S)

    def _sweep(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for connection in self._connections():
            connection.overdue(now_s)

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    # --- the end -------------------------------------------------------------------------------------------

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.server_state.patience.grace_s
        self.server_state.draining = True
        for listener in sockets or ():
            refuse_callers(listener)
        for connection in self._connections():
            connection.shutdown()
        # Meanwhile the loop takes all that wait.
        await asyncio.sleep(_HANDSHAKE_S)
        for server in self.servers:
            server.close()
        # Who was taken just now is not among the connections before the loop has gone round again.
        await asyncio.sleep(_HANDSHAKE_S)
        self._complete = await self._all_answered(give_up_at)

    async def _all_answered(self, give_up_at: float) -> bool:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while self.server_state.connections or self.server_state.tasks:
            now_s = loop.time()
            for connection in self._connections():
                # One whose answer has just ended may have a request under way to us.
                if min(connection.idle_s(now_s), now_s - began_s) >= _IDLE_S:
                    connection.transport.close()
            if now_s >= give_up_at:
                return await self._cut_off()
            self._sweep()
            await asyncio.sleep(0.02)
        return True

    async def _cut_off(self) -> bool:
        """Cancel what is left; True where nothing was being answered."""
        left = tuple(self.server_state.tasks)
        if left:
            LOGGER.error(
                "grace time is over: requests are cut off", extra={"fields": {"requests": len(left)}}
            )
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_CALL_S)
        for connection in self._connections():
            connection.transport.abort()
        return not left
