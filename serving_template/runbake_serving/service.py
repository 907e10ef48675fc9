"""What every route needs, finished and handed over, and the one way from a request to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Scope

from runbake_serving.errors import BodyTooLarge, BodyTooSlow
from runbake_serving.http.gate import Gate
from runbake_serving.label.provenance import Provenance
from runbake_serving.model.model import Model, Question
from runbake_serving.prediction.predictor import Predictor
from runbake_serving.settings import Settings

Observer = Callable[[Scope, int, float], None]
"""Told of each answer: the request's scope, the status, seconds. The scope's `route` has the path's pattern,
where the request went through FastAPI; else the scope's `path` is one of ours, or unknown."""

T = TypeVar("T")

JSON = "application/json"
_INLINE_BYTES = 64 << 10
"""Smaller bodies are parsed on the event loop: a thread's hand-over would take longer."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A body that was larger than it looked, and the bytes it takes now."""

    data: Any
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who waits for an answer, and until when by the event loop's clock."""

    state: Mapping[str, Any]
    give_up_at: float

    @property
    def request_id(self) -> str:
        """Under which the log tells of it."""
        return str(self.state["request_id"])


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
        unpack: Callable[[bytes, int], Unpacked] | None = None,
        at_once: bool = True,
    ) -> bytes:
        """The bytes of the answer: `write` of the model's predictions for what `read` finds in the body.

        `unpack` takes a body that says little of its size (compressed, columnar) apart before `read` has it;
        it must keep to the bound in bytes that it is given. Small bodies that become small are unpacked on
        the event loop, unless not `at_once`; others beside it.

        Raises:
            RequestError: the body is too large, too slow or one too many, `read` refuses it, or the
                prediction fails or is too late.
        """
        held = _Held(self.gate)
        try:
            body = await self._body_of(request, held)
            asker = self._asker(request)
            if unpack is None:
                return await self._answer(body, len(body), asker, read, write)
            unpacked = await self._unpacked(body, unpack, asker, at_once=at_once)
            if unpacked.size_bytes > held.size_bytes:
                held.grow(unpacked.size_bytes - held.size_bytes)
            return await self._answer(unpacked.data, unpacked.size_bytes, asker, read, write, is_first=False)
        finally:
            held.let_go()

    def kept(self, make: Callable[[], T]) -> Callable[[Request], Awaitable[T]]:
        """A function that gives what `make` returns: made beside the event loop, once, and then at hand."""
        made = cache(make)

        async def get(request: Request) -> T:
            if made.cache_info().currsize:
                return made()
            self.gate.enter()
            try:
                return await self._aside(made, 0, self._asker(request), is_first=True)
            finally:
                self.gate.leave()

        return get

    def _asker(self, request: Request) -> _Asker:
        return _Asker(request.scope["state"], self.predictor.give_up_at())

    async def _answer(
        self,
        body: Any,
        size_bytes: int,
        asker: _Asker,
        read: Callable[[Any], Question],
        write: Callable[[Any], bytes],
        *,
        is_first: bool = True,
    ) -> bytes:
        checked_of, inline = self.model.checked, size_bytes <= _INLINE_BYTES
        if inline:
            checked = checked_of(read(body))
        else:
            checked = await self._aside(lambda: checked_of(read(body)), size_bytes, asker, is_first=is_first)
        predictions = await self.predictor.ask(
            checked,
            asker.request_id,
            size_bytes=size_bytes,
            caller=asker.state,
            give_up_at=asker.give_up_at,
        )
        if inline:
            return write(predictions)
        # As many answers as rows were asked for: the request's size tells the answer's well enough.
        return await self._aside(lambda: write(predictions), size_bytes, asker, is_first=False)

    async def _unpacked(
        self, body: bytes, unpack: Callable[[bytes, int], Unpacked], asker: _Asker, *, at_once: bool
    ) -> Unpacked:
        limit_bytes = self.settings.body_limit_bytes
        if at_once and len(body) <= _INLINE_BYTES:
            with suppress(BodyTooLarge):
                return unpack(body, min(_INLINE_BYTES, limit_bytes))
        return await self._aside(lambda: unpack(body, limit_bytes), len(body), asker, is_first=True)

    async def _aside(self, work: Callable[[], T], size_bytes: int, asker: _Asker, *, is_first: bool) -> T:
        """What `work` returns; only where it `is_first`, a request is refused for what waits there."""
        if is_first:
            self.gate.expect(self.predictor.beside.backlog_s())
        return await self.predictor.aside(
            work, asker.request_id, size_bytes=size_bytes, caller=asker.state, give_up_at=asker.give_up_at
        )

    async def _body_of(self, request: Request, held: _Held) -> bytes:
        limit_bytes, declared = self.settings.body_limit_bytes, request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise BodyTooLarge(f"the body may have {limit_bytes} bytes at most")
        if request.scope["state"].get("whole"):  # then there is nothing to wait for
            held.enter()
            return await _read(request, held, limit_bytes)
        # What only was announced takes nobody's place: neither a request's nor that of its bytes.
        self.gate.check()
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                body = await _read(request, held, limit_bytes)
        except TimeoutError as error:
            raise BodyTooSlow(f"the body must arrive within {self.settings.body_timeout_s} s") from error
        held.enter()
        return body


@dataclass(slots=True)
class _Held:
    """What one request holds of the house: bytes, and a place once its body is whole."""

    gate: Gate
    size_bytes: int = 0
    inside: bool = False

    def enter(self) -> None:
        self.gate.enter()
        self.inside = True

    def grow(self, size_bytes: int) -> None:
        self.gate.grow(size_bytes, held_bytes=self.size_bytes)
        self.size_bytes += size_bytes

    def let_go(self) -> None:
        self.gate.shrink(self.size_bytes)
        if self.inside:
            self.gate.leave()


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
