"""The application: routes, headers and errors around one model."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbake_serving.contract import VERSION
from runbake_serving.encoding import answer_of, error_of
from runbake_serving.errors import BodyTooLarge, RequestError
from runbake_serving.log import LOGGER
from runbake_serving.model import Model, Question
from runbake_serving.predictor import Predictor
from runbake_serving.protocols.media_type import MediaType, media_type_of
from runbake_serving.protocols.mlflow_scoring import question_of
from runbake_serving.provenance import Provenance
from runbake_serving.settings import Settings

_JSON = "application/json"
_REQUEST_ID = "X-Request-Id"
_INLINE_BYTES = 64 << 10
"""Smaller bodies are parsed on the event loop: a thread's hand-over would take longer."""
_CODES = {404: "RESOURCE_DOES_NOT_EXIST", 503: "TEMPORARILY_UNAVAILABLE"}


def create_app(settings: Settings, model: Model, provenance: Provenance | None) -> FastAPI:
    """The application that answers for this model; everything it needs is finished and handed over."""
    predictor = Predictor(model, threads=settings.threads)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        predictor.close()

    app = FastAPI(
        title="runbake", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    _add_health(app, model)
    _add_scoring(app, settings, predictor)
    if settings.page and provenance is not None:
        _add_provenance(app, provenance)
    headers = provenance.headers if provenance is not None else ()
    app.state.cut_off = False
    app.add_middleware(Stamped, headers=headers)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _refused_by_routing)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)
    app.add_exception_handler(Exception, _bug_answer(headers))
    return app


def cut_off(app: FastAPI) -> bool:
    """A request was not answered, because it was not finished when the grace time was over."""
    return bool(app.state.cut_off)


def _add_health(app: FastAPI, model: Model) -> None:
    async def ping() -> Response:
        """The model is loaded."""
        return Response("\n", media_type=_JSON)

    async def version() -> Response:
        """The MLflow version that wrote the model."""
        return Response(model.mlflow_version, media_type="text/plain")

    app.get("/ping")(ping)
    app.get("/health")(ping)
    app.get("/version")(version)


def _add_provenance(app: FastAPI, provenance: Provenance) -> None:
    async def label_file() -> Response:
        """The label file, byte for byte."""
        return Response(provenance.body, media_type=_JSON)

    app.get("/provenance")(label_file)


def _add_scoring(app: FastAPI, settings: Settings, predictor: Predictor) -> None:
    model = predictor.model

    async def invocations(request: Request) -> Response:
        """A prediction, by MLflow's scoring protocol."""
        media_type = media_type_of(request.headers.get("content-type"))
        body = await _body_of(request, settings.body_limit_bytes)
        request_id: str = request.state.request_id
        question = await _read(body, media_type, request_id)
        predictions = await predictor.predict(question, request_id)
        return Response(await _written(predictions, len(body), request_id), media_type=_JSON)

    async def _read(body: bytes, media_type: MediaType, request_id: str) -> Question:
        if len(body) <= _INLINE_BYTES:
            return question_of(body, media_type, model)
        return await predictor.aside(lambda: question_of(body, media_type, model), request_id)

    async def _written(predictions: Any, asked_bytes: int, request_id: str) -> bytes:
        # As many answers as rows were asked for: the request's size tells the answer's well enough.
        if asked_bytes <= _INLINE_BYTES:
            return answer_of(predictions)
        return await predictor.aside(lambda: answer_of(predictions), request_id)

    app.post("/invocations")(invocations)


async def _body_of(request: Request, limit_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise BodyTooLarge(f"the body may have {limit_bytes} bytes at most")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise BodyTooLarge(f"the body may have {limit_bytes} bytes at most")
        parts.append(part)
    return b"".join(parts)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return _error(request, error.status, error.code, str(error))


async def _refused_by_routing(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, "BAD_REQUEST")
    answer = _error(request, error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _nobody_listens(request: Request, _: Exception) -> Response:
    return _error(request, 400, "BAD_REQUEST", "the request ended before its body did")


def _bug_answer(headers: tuple[tuple[str, str], ...]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, _: Exception) -> Response:
        # Answered outside of `Stamped`, and then raised again for the server to log.
        request_id: str = request.state.request_id
        response = _error(
            request, 500, "INTERNAL_ERROR", "the server failed; see its log for this request id"
        )
        response.headers.update({**dict(headers), _REQUEST_ID: request_id})
        return response

    return answer


def _error(request: Request, status: int, code: str, message: str) -> Response:
    return Response(error_of(code, message, request.state.request_id), status, media_type=_JSON)


class Stamped:
    """Middleware: every answer carries the model's headers and a request id, and leaves one log line."""

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
        exchange = _Exchange(send, [*self._headers, (_REQUEST_ID.lower().encode(), request_id.encode())])
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
