"""Errors as the caller sees them: one JSON shape, and nothing of the inside.

RFC 9457 (`application/problem+json`) with the keys of MLflow's own server (`error_code`, `message`) in the
same body, and under /v2 the `error` of the Open Inference Protocol.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from runbake_serving.errors import Overloaded, RequestError
from runbake_serving.protocols.encoding import problem_of

PROBLEM = "application/problem+json"
_CODES = {404: "RESOURCE_DOES_NOT_EXIST", 503: "TEMPORARILY_UNAVAILABLE"}


def refusal_of(request: Request, error: BaseException) -> Response | None:
    """The answer to a request that ended in this exception; None if it is a bug."""
    if isinstance(error, RequestError):
        answer = _problem(request, error.status, error.code, str(error), column=error.column, row=error.row)
        if isinstance(error, Overloaded):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "BAD_REQUEST")
        answer = _problem(request, error.status_code, code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer
    if isinstance(error, ClientDisconnect):
        return _problem(request, 400, "BAD_REQUEST", "the request ended before its body did")
    return None


def bug_answer(request: Request) -> Response:
    """The answer where our own code failed."""
    return _problem(request, 500, "INTERNAL_ERROR", "the server failed; see its log for this request id")


def raw_refusal(status: int, message: str) -> bytes:
    """A whole HTTP answer to what never became a request; the connection ends with it."""
    code = _CODES.get(status, "BAD_REQUEST")
    body = problem_of(status, code, message)
    again = "Retry-After: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} \r\nContent-Type: {PROBLEM}\r\nContent-Length: {len(body)}\r\n"
        f"{again}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _problem(
    request: Request,
    status: int,
    code: str,
    message: str,
    *,
    column: str | None = None,
    row: int | None = None,
) -> Response:
    # The Open Inference Protocol's clients look for `error`.
    error = message if request.scope["path"].startswith("/v2") else None
    request_id: str = request.scope["state"]["request_id"]
    body = problem_of(status, code, message, request_id=request_id, column=column, row=row, error=error)
    return Response(body, status, media_type=PROBLEM)
