"""Middleware: what every answer carries, and its line in the log."""

from __future__ import annotations

import asyncio
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbake_serving.log import LOGGER

REQUEST_ID = "X-Request-Id"


class Stamped:
    """Every answer carries the model's headers and a request id, and leaves one log line."""

    def __init__(self, app: ASGIApp, *, headers: tuple[tuple[str, str], ...]) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(send, [*self._headers, (REQUEST_ID.lower().encode(), request_id.encode())])
        try:
            await self._app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            # The server cancels only what is left when the grace time is over.
            scope["app"].state.cut_off = True
            raise
        finally:
            LOGGER.info("request", extra={"fields": _access(scope, exchange, request_id)})


class _Exchange:
    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers = send, headers
        self.status, self.started_s = 0, time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        await self._send(message)


def _access(scope: Scope, exchange: _Exchange, request_id: str) -> dict[str, object]:
    return {
        "request": request_id,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": exchange.status,
        "ms": round((time.perf_counter() - exchange.started_s) * 1000, 2),
    }
