"""Workers that fail, and jobs that are told to stop."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Callable

import pytest

from runbake_serving.batch.failures import BatchFailure, Incomplete
from runbake_serving.batch.plan import Part
from runbake_serving.batch.progress import Progress
from runbake_serving.batch.records import Record
from runbake_serving.batch.workers import Rules, Stop, run_parts

PARTS = [Part(id="part-00000", file=0, begin=0, end=1, first_row=0, rows=1)]


def job(work: Callable[[Part, int | None, Callable[[int], None]], Record]) -> None:
    """One part by one worker."""
    rules = Rules(workers=1, grace_s=1.0, most_rejects=None, now_s=time.monotonic)
    progress = Progress(stream=io.StringIO(), parts=1, rows=1, now_s=time.monotonic)
    run_parts(PARTS, work, rules, progress, Stop())


def test_a_bug_is_not_retried(capfd: pytest.CaptureFixture[str]) -> None:
    """It would fail again: 74 with a traceback, never "out of memory, worth a retry"."""

    def fail(_part: Part, _most: int | None, _tell: Callable[[int], None]) -> Record:
        raise KeyError("a bug")

    with pytest.raises(BatchFailure, match="part-00000: its worker failed") as failure:
        job(fail)
    assert failure.value.exit_code == 74
    assert capfd.readouterr().err.count("Traceback") == 1


def test_a_worker_that_runs_out_of_memory_is_worth_a_retry() -> None:
    """75, as when the kernel kills it."""

    def fail(_part: Part, _most: int | None, _tell: Callable[[int], None]) -> Record:
        raise MemoryError

    with pytest.raises(Incomplete, match="part-00000: out of memory"):
        job(fail)


def test_what_nothing_has_begun_is_left_at_once() -> None:
    """A scan of a large file ends when the job is told to stop; later signals only ask."""
    stop = Stop()
    with pytest.raises(Incomplete, match="stopped before any part was begun"), stop.at_once():
        stop(signal.SIGTERM, None)
    with pytest.raises(Incomplete), stop.at_once():
        raise AssertionError("it was asked before")

    later = Stop()
    with later.at_once():
        assert not later.asked
    later(signal.SIGTERM, None)
    assert later.asked
