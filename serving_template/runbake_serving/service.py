"""What every route needs, finished and handed over, and the one way from a request to its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from runbake_serving.errors import BodyTooLarge
from runbake_serving.model import Model, Question
from runbake_serving.predictor import Predictor
from runbake_serving.provenance import Provenance
from runbake_serving.settings import Settings

JSON = "application/json"
_INLINE_BYTES = 64 << 10
"""Smaller bodies are parsed on the event loop: a thread's hand-over would take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One model in service. `provenance` is None outside of an image."""

    settings: Settings
    model: Model
    predictor: Predictor
    provenance: Provenance | None

    async def answer(
        self, request: Request, *, read: Callable[[bytes], Question], write: Callable[[Any], bytes]
    ) -> bytes:
        """The bytes of the answer: `write` of the model's predictions for what `read` finds in the body.

        Raises:
            RequestError: the body is too large, `read` refuses it, or the prediction fails.
        """
        body = await _body_of(request, self.settings.body_limit_bytes)
        request_id: str = request.state.request_id
        # As many answers as rows were asked for: the request's size tells the answer's well enough.
        inline = len(body) <= _INLINE_BYTES
        question = read(body) if inline else await self.predictor.aside(lambda: read(body), request_id)
        predictions = await self.predictor.predict(question, request_id)
        return (
            write(predictions)
            if inline
            else await self.predictor.aside(lambda: write(predictions), request_id)
        )


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
