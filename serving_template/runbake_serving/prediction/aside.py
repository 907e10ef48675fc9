"""Work beside the event loop: what would hold it up, such as reading a large body or writing its answer.

One thread does one piece at a time, in the order in which they came: more would fight the event loop for the
interpreter. What nobody waits for any more when its turn comes is not begun.

Threads: everything but `_Piece.outcome` runs on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from runbake_serving.errors import DeadlinePassed, InvalidRequest
from runbake_serving.prediction.calls import Raised, outcome_of
from runbake_serving.prediction.pace import Pace

_UNIT_BITS = 16
"""Sizes are told apart from 64 KiB on: what is smaller costs much the same."""


@dataclass(slots=True, eq=False)
class _Piece:
    work: Callable[[], Any]
    caller: Mapping[str, Any]
    units: int
    expected_s: float
    came_at: float
    begun: bool = False
    seconds: float = 0.0

    def outcome(self) -> Any:
        """What the work gives, or what it raised."""
        self.begun = True
        if self.caller.get("gone"):
            return Raised(InvalidRequest("the caller left before the answer"))
        started = time.perf_counter()
        try:
            return outcome_of(self.work)
        finally:
            self.seconds = time.perf_counter() - started


class Aside:
    """One thread, and what waits for it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")
        self._pieces: deque[_Piece] = deque()
        self._pace = Pace()

    def backlog_s(self) -> float:
        """Seconds until a piece that came now would be begun, by the pace of late ones.

        As long as the first has waited at least, should the pace be wrong.
        """
        waiting = [piece for piece in self._pieces if not piece.begun]
        if not waiting:
            return 0.0
        waited_s = asyncio.get_running_loop().time() - waiting[0].came_at
        return max(waited_s, sum(piece.expected_s for piece in waiting))

    async def do(
        self, work: Callable[[], Any], *, size_bytes: int, give_up_at: float, caller: Mapping[str, Any]
    ) -> Any:
        """What `work` returns, or what it raised as `Raised`.

        `size_bytes` is what it works on, `give_up_at` the event loop's time at which nobody waits any more;
        where `caller` has `gone` before it is begun it is dropped.

        Raises:
            DeadlinePassed: it was not done in time, or this is closed.
        """
        loop = asyncio.get_running_loop()
        units = 1 + (size_bytes >> _UNIT_BITS)
        piece = _Piece(work, caller, units, self._pace.expected_s(units) or 0.0, loop.time())
        self._pieces.append(piece)
        job = self._thread.submit(piece.outcome)
        patience_s = None if give_up_at == float("inf") else max(0.0, give_up_at - loop.time())
        try:
            await asyncio.wait((asyncio.wrap_future(job),), timeout=patience_s)
        finally:
            job.cancel()
            self._pieces.remove(piece)
        if not job.done() or job.cancelled():
            raise DeadlinePassed("the answer was not there in time")
        if piece.seconds:
            self._pace.took(1, units, piece.seconds)
        return job.result()

    def close(self) -> None:
        """Begin nothing more; what runs goes on to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
