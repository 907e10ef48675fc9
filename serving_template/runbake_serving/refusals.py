"""Errors as the caller sees them: one JSON shape, and nothing of the inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from runbake_serving.encoding import error_of
from runbake_serving.errors import RequestError
from runbake_serving.service import JSON
from runbake_serving.stamped import REQUEST_ID

_CODES = {404: "RESOURCE_DOES_NOT_EXIST", 503: "TEMPORARILY_UNAVAILABLE"}


def add_refusals(app: FastAPI, headers: tuple[tuple[str, str], ...]) -> None:
    """Answer every exception of a route; `headers` are the ones that every answer carries."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _refused_by_routing)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)
    app.add_exception_handler(Exception, _bug_answer(headers))


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
        response.headers.update({**dict(headers), REQUEST_ID: request_id})
        return response

    return answer


def _error(request: Request, status: int, code: str, message: str) -> Response:
    return Response(error_of(code, message, request.state.request_id), status, media_type=JSON)
