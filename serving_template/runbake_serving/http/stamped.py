"""What every answer carries, and its line in the log; plain handlers are called from here."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbake_serving.http.access_log import ACCESS_LOG
from runbake_serving.http.direct import Handler
from runbake_serving.http.refusals import bug_answer, refusal_of
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.service import Observer

REQUEST_ID = "X-Request-Id"
_END = ((b"connection", b"close"),)
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@~-]{1,128}")
# Source: W3C Trace Context, section 3.2.2.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
)


class Stamped:
    """Every answer carries the model's headers and a request id, and leaves one log line.

    `direct` are handlers by method and path; every other request goes to `app`, whose `state.cut_off` tells
    whether a request was cancelled.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        direct: Mapping[tuple[str, str], Handler],
        headers: tuple[tuple[str, str], ...],
        observers: list[Observer],
        on_cancelled: Callable[[], None],
    ) -> None:
        self._app, self._direct, self._observers = app, direct, observers
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers]
        self._on_cancelled = on_cancelled
        self._prefix, self._count = b"", itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started_s = time.perf_counter()
        state = scope.setdefault("state", {})
        request_id = self._read_head(scope, state)
        exchange = _Exchange(send, [*self._headers, (b"x-request-id", request_id)], state)
        try:
            handler = self._direct.get((scope["method"], scope["path"]))
            if handler is None:
                await self._pass_on(scope, receive, exchange)
            else:
                await self._call(handler, Request(scope, receive), exchange)
        except asyncio.CancelledError:
            # The server cancels only what is left when the grace time is over.
            self._on_cancelled()
            raise
        finally:
            seconds = time.perf_counter() - started_s
            ACCESS_LOG.add(_line(scope, state, exchange.status, seconds))
            for observe in self._observers:
                observe(scope, exchange.status, seconds)

    async def _pass_on(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        try:
            await self._app(scope, receive, exchange.send)
        except Exception as bug:  # noqa: BLE001 -- it was answered; the server's line would not name the request
            _log_bug(scope["state"], bug)

    async def _call(self, handler: Handler, request: Request, exchange: _Exchange) -> None:
        bug: BaseException | None = None
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- a bug is answered like everything else, and logged
            refusal = refusal_of(request, error)
            bug = error if refusal is None else None
            response = refusal or bug_answer(request)
        if bug is not None:
            _log_bug(request.scope["state"], bug)
        await exchange.respond(response, request)

    def _read_head(self, scope: Scope, state: dict[str, Any]) -> bytes:
        request_id = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value if _SANE_ID.fullmatch(value) else b""
            elif name == b"traceparent" and (ids := _TRACEPARENT.fullmatch(value)):
                state["traceparent"] = value.decode("ascii", "replace")
                state["trace_id"], state["parent_id"] = ids[1].decode(), ids[2].decode()
            elif name == b"tracestate" and len(value) <= 512:
                state["tracestate"] = value.decode("latin-1")
        request_id = request_id or self._new_id()
        state["request_id"] = request_id.decode("ascii")
        return request_id

    def _new_id(self) -> bytes:
        if not self._prefix:
            # Not before the fork: workers would share it.
            self._prefix = secrets.token_hex(8).encode()
        return b"%b%016x" % (self._prefix, next(self._count))


class _Exchange:
    __slots__ = ("_headers", "_send", "_state", "status")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], state: Mapping[str, Any]) -> None:
        self._send, self._headers, self._state = send, headers, state
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            given = message.get("headers", ())
            message = {**message, "headers": [*given, *self._headers, *self._ends()]}
        await self._send(message)

    def _ends(self) -> tuple[tuple[bytes, bytes], ...]:
        # What is left of a body that nobody reads would be read as the next request.
        return _END if self._state.get("whole") is False else ()

    async def respond(self, response: Response, request: Request) -> None:
        if isinstance(response, StreamingResponse) or response.background is not None:
            await response(request.scope, request.receive, self.send)
            return
        self.status = response.status_code
        headers = [*response.raw_headers, *self._headers, *self._ends()]
        await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body})


def _line(scope: Scope, state: Mapping[str, Any], status: int, seconds: float) -> dict[str, object]:
    line = {
        "request": state["request_id"],
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    if "trace_id" in state:
        line["trace_id"], line["parent_id"] = state["trace_id"], state["parent_id"]
    return line


def _log_bug(state: Mapping[str, Any], error: BaseException) -> None:
    LOGGER.error("bug", extra={"fields": {"request": state["request_id"], **cause_of(error)}})
