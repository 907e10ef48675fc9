"""Processes that share one loaded model: forked after loading, each computes one part at a time.

The parent never predicts (OpenMP hangs in a forked child of one that has); it hands out parts, counts, and
forks a new worker in the place of one that died. A worker that finds its parent gone ends after its batch.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

from runbake_serving.batch.failures import BatchFailure, Incomplete
from runbake_serving.batch.plan import Part
from runbake_serving.batch.progress import Progress
from runbake_serving.batch.records import Record

_TICK_S = 0.25
_ATTEMPTS = 2
Work = Callable[[Part, int | None, Callable[[int], None]], Record]
"""Computes a part; takes the rejects that it may still have, and whom to tell of rows."""


@dataclass(slots=True)
class Stop:
    """Whether the job was told to stop, and when it must have ended."""

    asked: bool = False
    _at_once: bool = False

    def __call__(self, _: int, __: Any) -> None:
        """A signal handler."""
        self.asked = True
        self._leave()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Leave this block as soon as the job is told to stop, in the middle of whatever it does.

        Raises:
            Incomplete: it was told.
        """
        self._at_once = True
        try:
            self._leave()
            yield
        finally:
            self._at_once = False

    def _leave(self) -> None:
        if self.asked and self._at_once:
            raise Incomplete("stopped before any part was begun", hint="the same command continues")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How parts are computed.

    Attributes:
        grace_s: seconds that running parts get after a signal; later they are dropped.
        most_rejects: rejected rows of the whole job that are accepted; None where that is told in the end.
    """

    workers: int
    grace_s: float
    most_rejects: int | None
    now_s: Callable[[], float]


@dataclass(slots=True, eq=False)
class _Worker:
    process: ForkProcess
    pipe: Connection
    part: Part | None = None


@dataclass(slots=True)
class _House:
    """What is under way."""

    work: Work
    rules: Rules
    progress: Progress
    todo: deque[Part]
    workers: list[_Worker] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    failure: BatchFailure | None = None
    rejected: int = 0


def run_parts(
    parts: Sequence[Part], work: Work, rules: Rules, progress: Progress, stop: Stop, *, rejected: int = 0
) -> dict[str, Record]:
    """Compute these parts; their records by id. `rejected` rows were before.

    Raises:
        BatchFailure: a part failed, or the job was told to stop; others that ran were finished first.
    """
    house = _House(work=work, rules=rules, progress=progress, todo=deque(parts), rejected=rejected)
    progress.begin()
    try:
        for _ in range(min(rules.workers, len(parts))):
            house.workers.append(_forked(house))
        _drive(house, stop)
    finally:
        _end(house)
    if house.failure is not None:
        raise house.failure
    if stop.asked and len(house.records) < len(parts):
        raise _stopped(len(parts) - len(house.records), len(parts))
    return house.records


def run_parts_here(
    parts: Sequence[Part], work: Work, rules: Rules, progress: Progress, stop: Stop, *, rejected: int = 0
) -> dict[str, Record]:
    """As `run_parts`, in this process: for a model that does not survive a fork.

    Raises:
        BatchFailure: a part failed, or the job was told to stop.
    """
    records = dict[str, Record]()
    progress.begin()

    def tell(rows: int) -> None:
        if stop.asked:
            raise _stopped(len(parts) - len(records), len(parts))
        progress.add(rows)
        progress.tick()

    for part in parts:
        most = rules.most_rejects
        records[part.id] = record = work(part, None if most is None else max(0, most - rejected), tell)
        rejected += record.rejected
        progress.part(record.rejected)
    return records


def _stopped(left: int, parts: int) -> Incomplete:
    return Incomplete(f"stopped with {left} of {parts} parts left", hint="the same command continues")


def _drive(house: _House, stop: Stop) -> None:
    deadline_s: float | None = None
    while True:
        if stop.asked or house.failure is not None:
            house.todo.clear()
        if stop.asked and deadline_s is None:
            deadline_s = house.rules.now_s() + house.rules.grace_s
        for worker in house.workers:
            if worker.part is None and house.todo:
                _hand_out(house, worker)
        busy = [worker for worker in house.workers if worker.part is not None]
        if not busy or (deadline_s is not None and house.rules.now_s() >= deadline_s):
            return
        ready = set(wait([worker.pipe for worker in busy], timeout=_TICK_S))
        for worker in busy:
            if worker.pipe in ready:
                _hear(house, worker)
        house.progress.tick()


def _hand_out(house: _House, worker: _Worker) -> None:
    worker.part = house.todo.popleft()
    most = house.rules.most_rejects
    try:
        worker.pipe.send((worker.part, None if most is None else max(0, most - house.rejected)))
    except OSError:
        return  # it died between two parts: its pipe tells so at once


def _hear(house: _House, worker: _Worker) -> None:
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        _replace(house, worker)
        return
    if kind == "rows":
        house.progress.add(value)
        return
    worker.part = None
    if kind == "failed":
        house.failure = house.failure or value
        return
    house.records[value.part] = value
    house.rejected += value.rejected
    house.progress.part(value.rejected)


def _replace(house: _House, worker: _Worker) -> None:
    """A worker died. If it was killed, maybe for its memory, its part is tried once more by another."""
    worker.process.join()
    house.workers.remove(worker)
    worker.pipe.close()
    part = worker.part
    if part is None:
        return
    code = worker.process.exitcode or 0
    if code >= 0:
        # It would do so again: nobody is to retry this.
        house.failure = house.failure or BatchFailure(
            f"{part.id}: its worker failed", hint="this is a bug; the traceback before this tells where"
        )
        return
    tried = house.attempts[part.id] = house.attempts.get(part.id, 0) + 1
    if tried >= _ATTEMPTS:
        house.failure = house.failure or Incomplete(
            f"{part.id}: its worker was killed by signal {-code}, {tried} times",
            hint="likely out of memory: allow more, or fewer --workers",
        )
        return
    house.todo.appendleft(part)
    house.workers.append(_forked(house))


def _end(house: _House) -> None:
    for worker in house.workers:
        if worker.part is not None:
            worker.process.kill()
        worker.pipe.close()
    for worker in house.workers:
        worker.process.join()


# --- in a worker ---------------------------------------------------------------------------------------


def _forked(house: _House) -> _Worker:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    others = [worker.pipe for worker in house.workers]
    process = context.Process(
        target=_work, args=(house.work, theirs, [*others, ours], os.getpid()), daemon=True
    )
    sys.stderr.flush()
    process.start()
    theirs.close()
    return _Worker(process=process, pipe=ours)


def _work(work: Work, pipe: Connection, others: Sequence[Connection], parent: int) -> None:
    # The parent decides when to stop: a terminal sends its signals to all.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for other in others:
        other.close()
    gc.enable()
    one_thread()

    def tell(rows: int) -> None:
        if os.getppid() != parent:
            os._exit(1)
        pipe.send(("rows", rows))

    while True:
        try:
            part, most_rejects = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(("done", work(part, most_rejects, tell)))
        except BatchFailure as failure:
            pipe.send(("failed", failure))
        except MemoryError:
            pipe.send(("failed", Incomplete(f"{part.id}: out of memory", hint="more, or fewer --workers")))


def one_thread() -> None:
    """Keep Arrow, where it is there, to the one CPU of this worker."""
    if "pyarrow" in sys.modules:
        import pyarrow as pa

        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
