"""What every route needs, finished and handed over, and the one way from a request to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from runbake_serving.errors import BodyTooLarge, BodyTooSlow
from runbake_serving.gate import Gate
from runbake_serving.model import Model, Question
from runbake_serving.predictor import Predictor
from runbake_serving.provenance import Provenance
from runbake_serving.settings import Settings

Observer = Callable[[Scope, int, float], None]
"""Told of each answer: the request's scope, the status, seconds. The scope's `route` has the path's pattern,
where the request went through FastAPI; else the scope's `path` is one of ours, or unknown."""

JSON = "application/json"
_INLINE_BYTES = 64 << 10
"""Smaller bodies are parsed on the event loop: a thread's hand-over would take longer."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A body that was larger than it looked, and the bytes it takes now."""

    data: Any
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One model in service. `provenance` is None outside of an image.

    `observers` are told of each answer; `predictor.observers` of each call of the model.
    """

    settings: Settings
    model: Model
    predictor: Predictor
    gate: Gate
    provenance: Provenance | None
    observers: list[Observer] = field(default_factory=list)

    async def answer(
        self,
        request: Request,
        *,
        read: Callable[[Any], Question],
        write: Callable[[Any], bytes],
        unpack: Callable[[bytes], Unpacked] | None = None,
    ) -> bytes:
        """The bytes of the answer: `write` of the model's predictions for what `read` finds in the body.

        `unpack` takes a body that says little of its size (compressed, columnar) apart before `read` has it,
        beside the event loop; it must keep to a bound itself.

        Raises:
            RequestError: the body is too large, too slow or one too many, `read` refuses it, or the
                prediction fails or is too late.
        """
        held = _Held(self.gate)
        self.gate.enter()
        try:
            body = await self._body_of(request, held)
            caller = request.scope["state"]
            request_id = caller["request_id"]
            if unpack is None:
                return await self._answer(body, len(body), caller, read, write)
            unpacked = await self.predictor.aside(lambda: unpack(body), request_id)
            if unpacked.size_bytes > held.size_bytes:
                held.grow(unpacked.size_bytes - held.size_bytes)
            return await self._answer(unpacked.data, unpacked.size_bytes, caller, read, write)
        finally:
            self.gate.leave(held.size_bytes)

    async def _answer(
        self,
        body: Any,
        size_bytes: int,
        caller: Mapping[str, Any],
        read: Callable[[Any], Question],
        write: Callable[[Any], bytes],
    ) -> bytes:
        predictor, checked_of = self.predictor, self.model.checked
        request_id = caller["request_id"]
        if size_bytes <= _INLINE_BYTES:
            predictions = await predictor.ask(
                checked_of(read(body)), request_id, size_bytes=size_bytes, caller=caller
            )
            return write(predictions)
        checked = await predictor.aside(lambda: checked_of(read(body)), request_id)
        predictions = await predictor.ask(checked, request_id, size_bytes=size_bytes, caller=caller)
        # As many answers as rows were asked for: the request's size tells the answer's well enough.
        return await predictor.aside(lambda: write(predictions), request_id)

    async def _body_of(self, request: Request, held: _Held) -> bytes:
        limit_bytes, declared = self.settings.body_limit_bytes, request.headers.get("content-length", "")
        if declared.isdigit():
            if int(declared) > limit_bytes:
                raise BodyTooLarge(f"the body may have {limit_bytes} bytes at most")
            held.grow(int(declared))
        if request.scope["state"].get("whole"):  # then there is nothing to wait for
            return await _read(request, held, limit_bytes)
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                return await _read(request, held, limit_bytes)
        except TimeoutError as error:
            raise BodyTooSlow(f"the body must arrive within {self.settings.body_timeout_s} s") from error


@dataclass(slots=True)
class _Held:
    """What one request holds of the house's bytes."""

    gate: Gate
    size_bytes: int = 0

    def grow(self, size_bytes: int) -> None:
        self.gate.grow(size_bytes)
        self.size_bytes += size_bytes


async def _read(request: Request, held: _Held, limit_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise BodyTooLarge(f"the body may have {limit_bytes} bytes at most")
        if size > held.size_bytes:
            held.grow(size - held.size_bytes)
        parts.append(part)
    return b"".join(parts)
