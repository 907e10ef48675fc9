"""Where questions meet the model: what waits while a prediction runs is predicted together in the next call.

There is no waiting window: a question that finds the model free is asked at once, with those that came in
the same turn of the event loop. Short predictions of models whose rows may be joined run on the event loop
itself, since handing them to a thread takes longer than they do; all others run in threads.

Threads: everything but `Call.outcomes` and what is done `aside` runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from runbake_serving.errors import DeadlinePassed
from runbake_serving.model.model import Checked, Model, Question
from runbake_serving.prediction.aside import Aside
from runbake_serving.prediction.calls import Asked, Call, Raised, answerable
from runbake_serving.prediction.joining import key_of, rows_of
from runbake_serving.prediction.pace import Pace

T = TypeVar("T")

_SHORT_S = 0.002
"""Predictions expected to take no longer run on the event loop, where the flavor's rules know their kind."""
_MAYBE_SHORT_S = 0.02
"""In a thread, where it fights for the interpreter, a short one looks no longer than this."""
_TRIALS = 64
"""One of so many that may be short is tried on the event loop, to see what it takes there."""
_SWEEPS = 10
"""Waiting questions are looked at so many times within a deadline."""
_UNKNOWN = 32
"""Questions that may wait for a model that has answered none yet."""
_STAYS: Mapping[str, Any] = {}

Observer = Callable[[int, int, float], None]
"""Told of each call of the model: requests, rows, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one call and one wait. `deadline_s` None waits for ever."""

    join_rows: int = 1024
    join_bytes: int = 8 << 20
    deadline_s: float | None = None


@dataclass(slots=True)
class Depth:
    """What waits for the model."""

    requests: int = 0
    rows: int = 0


class Predictor:
    """Asks one model, in at most `threads` calls at a time; others wait in order."""

    def __init__(self, model: Model, *, threads: int, limits: Limits | None = None) -> None:
        self.model = model
        self.limits = limits or Limits()
        self.observers: list[Observer] = []
        self.depth = Depth()
        self._pace, self._pace_on_loop = Pace(), Pace()
        self._untried = 0
        self._slots = threads
        self._joins = model.rules.rows_may_be_joined and self.limits.join_rows > 1
        self._waiting: deque[Asked] = deque()
        self._running: set[Call] = set()
        self._due = self._sweeping = self._closed = False
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="predict")
        self.beside = Aside()

    def give_up_at(self) -> float:
        """The event loop's time until which a request that came now is to be answered."""
        patience_s = self.limits.deadline_s
        return asyncio.get_running_loop().time() + patience_s if patience_s else float("inf")

    def backlog_s(self) -> float:
        """Seconds until a question that came now would be asked, by the pace of late ones.

        While no pace is known, infinite for all but a few.
        """
        if not self._pace.known:
            return 0.0 if self.depth.requests < _UNKNOWN else float("inf")
        expected_s = self._pace.backlog_s(self.depth.requests, self.depth.rows) / self._slots
        return max(expected_s, self._waited_s())

    def _waited_s(self) -> float:
        """How long the first in the queue has waited: should the pace be wrong, this is not."""
        if not self._waiting or not self.limits.deadline_s:
            return 0.0
        came = self._waiting[0].give_up_at - self.limits.deadline_s
        return asyncio.get_running_loop().time() - came

    async def predict(self, question: Question, request_id: str) -> Any:
        """The model's answer to this question, not checked before.

        Raises:
            SchemaMismatch: the data do not fit the signature.
            And as `ask`.
        """
        give_up_at = self.give_up_at()
        checked = await self.aside(lambda: self.model.checked(question), request_id, give_up_at=give_up_at)
        return await self.ask(checked, request_id, give_up_at=give_up_at)

    async def ask(
        self,
        checked: Checked,
        request_id: str,
        *,
        size_bytes: int = 0,
        caller: Mapping[str, Any] = _STAYS,
        give_up_at: float | None = None,
    ) -> Any:
        """The model's answer to what was checked; `size_bytes` is the size of the body it came in.

        Where `caller` has `gone` by the time it would begin, the work is dropped. `give_up_at` is the event
        loop's time at which its deadline ends; None lets the deadline begin now.

        Raises:
            ValuesRefused: the model does not take these values.
            ModelFailed: the model raised; the cause is logged under `request_id`.
            DeadlinePassed: there was no answer in time.
        """
        asked = self._asked(checked, size_bytes, caller, give_up_at)
        self._waiting.append(asked)
        self._count(asked, 1)
        self._wake()
        outcome = await asked.answer
        if isinstance(outcome, Raised):
            raise answerable(outcome.error, self.model, request_id, checked) from outcome.error
        return outcome

    def _asked(
        self, checked: Checked, size_bytes: int, caller: Mapping[str, Any], give_up_at: float | None
    ) -> Asked:
        return Asked(
            checked=checked,
            rows=rows_of(checked.data),
            size_bytes=size_bytes,
            key=key_of(checked.data, checked.params) if self._joins else None,
            give_up_at=self.give_up_at() if give_up_at is None else give_up_at,
            answer=asyncio.get_running_loop().create_future(),
            caller=caller,
        )

    def _count(self, asked: Asked, sign: int) -> None:
        self.depth.requests += sign
        self.depth.rows += sign * asked.rows

    async def aside(
        self,
        work: Callable[[], T],
        request_id: str,
        *,
        size_bytes: int = 0,
        caller: Mapping[str, Any] = _STAYS,
        give_up_at: float | None = None,
    ) -> T:
        """What `work` on so many bytes returns, done in a thread beside the predictions.

        `caller`, `give_up_at` and what is raised are as with `ask`.
        """
        until = self.give_up_at() if give_up_at is None else give_up_at
        outcome = await self.beside.do(work, size_bytes=size_bytes, give_up_at=until, caller=caller)
        if isinstance(outcome, Raised):
            raise answerable(outcome.error, self.model, request_id) from outcome.error
        found: T = outcome
        return found

    def close(self) -> None:
        """Begin no more questions; what runs goes on to its end."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.beside.close()

    # --- the queue -----------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._due and len(self._running) < self._slots:
            self._due = True
            # Not now: others of this turn of the loop are asked in the same call.
            asyncio.get_running_loop().call_soon(self._start)
        if not self._sweeping and self.limits.deadline_s:
            self._sweeping = True
            asyncio.get_running_loop().call_later(self.limits.deadline_s / _SWEEPS, self._sweep)

    def _start(self) -> None:
        self._due = False
        while not self._closed and len(self._running) < self._slots and (several := self._next()):
            call = Call(self.model, several)
            self._running.add(call)
            if self._is_short(call):
                outcomes = call.outcomes()
                self._pace_on_loop.took(len(several), call.rows, call.seconds)
                self._ended(call, outcomes)
                if self._waiting:
                    self._wake()
                return  # to the event loop, which has others to look after
            loop = asyncio.get_running_loop()
            future = self._threads.submit(call.outcomes)
            future.add_done_callback(partial(_hand_back, loop, self._ended, call))

    def _is_short(self, call: Call) -> bool:
        if not self.model.rules.rows_may_be_joined:
            return False  # it may wait for something, and the event loop with it
        here_s = self._pace_on_loop.expected_s(call.rows)
        if here_s is not None and here_s <= _SHORT_S:
            return True
        known_s = [seconds for seconds in (here_s, self._pace.expected_s(call.rows)) if seconds is not None]
        if not known_s or min(known_s) > _MAYBE_SHORT_S:
            return False
        self._untried = (self._untried + 1) % _TRIALS
        return self._untried == 1

    def _next(self) -> list[Asked]:
        """The first in the queue that still wants an answer, and all that may be asked with it."""
        first = self._first()
        if first is None:
            return []
        several, others = [first], deque[Asked]()
        if self._joins and first.key is not None:
            rows, size_bytes = first.rows, first.size_bytes
            while self._waiting:
                one = self._waiting.popleft()
                fits = (
                    rows + one.rows <= self.limits.join_rows
                    and size_bytes + one.size_bytes <= self.limits.join_bytes
                )
                if not one.wanted:
                    self._count(one, -1)
                elif fits and one.key == first.key:
                    several.append(one)
                    rows, size_bytes = rows + one.rows, size_bytes + one.size_bytes
                else:
                    others.append(one)
                    if not fits:
                        break
            others.extend(self._waiting)
            self._waiting = others
        for one in several:
            self._count(one, -1)
        return several

    def _first(self) -> Asked | None:
        while self._waiting:
            one = self._waiting.popleft()
            if one.wanted:
                return one
            self._count(one, -1)
        return None

    def _ended(self, call: Call, outcomes: list[Any]) -> None:
        self._running.discard(call)
        self._pace.took(len(call.several), call.rows, call.seconds)
        self._joins = self._joins and call.one_row_each
        for one, outcome in zip(call.several, outcomes, strict=True):
            if not one.answer.done():
                one.answer.set_result(outcome)
        for observe in self.observers:
            observe(len(call.several), call.rows, call.seconds)
        if self._waiting:
            self._wake()

    def _sweep(self) -> None:
        """Answer those whose time is over, also while a prediction does not end."""
        loop = asyncio.get_running_loop()
        asked = [one for call in self._running for one in call.several]
        for one in (*self._waiting, *asked):
            if one.give_up_at <= loop.time() and not one.answer.done():
                one.answer.set_result(Raised(DeadlinePassed("the answer was not there in time")))
        self._sweeping = bool(self._waiting or self._running) and self.limits.deadline_s is not None
        if self._sweeping and self.limits.deadline_s:
            loop.call_later(self.limits.deadline_s / _SWEEPS, self._sweep)


def _hand_back(
    loop: asyncio.AbstractEventLoop,
    ended: Callable[[Call, list[Any]], None],
    call: Call,
    future: Future[list[Any]],
) -> None:
    # The loop is closed where the grace time was over before the prediction.
    if not future.cancelled() and not loop.is_closed():
        loop.call_soon_threadsafe(ended, call, future.result())
