"""Threads that end together."""

from __future__ import annotations

import threading
import time

import pytest

from runbake.crew import GRACE_S, Crew, Stopped

DEADLINE_S = 30.0


def test_answers_come_in_the_order_of_the_items() -> None:
    """Whoever is done first, the answers are in order; no more threads than asked for work at once."""
    gate = threading.Event()
    names: set[str] = set()

    def act(item: int) -> int:
        names.add(threading.current_thread().name)
        if item == 0:
            assert gate.wait(DEADLINE_S)
        if item == 4:
            gate.set()
        return item * item

    with Crew() as crew:
        assert crew.each(act, range(5), threads=2) == [0, 1, 4, 9, 16]
        assert crew.each(act, (), threads=2) == []
    assert len(names) == 2


def test_the_first_failure_stops_the_others_and_what_is_left() -> None:
    """One item fails: it is what is raised; another thread stops at its next check; no new item begins."""
    begun: list[int] = []
    stopped = threading.Event()
    both = threading.Barrier(2, timeout=DEADLINE_S)

    def act(item: int) -> None:
        begun.append(item)
        both.wait()
        if item == 0:
            raise KeyError("first")
        try:
            deadline = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline:
                crew.check()
        except Stopped:
            stopped.set()
            raise

    with pytest.raises(KeyError, match="first"), Crew() as crew:
        crew.each(act, range(10), threads=2)
    assert stopped.is_set()
    assert sorted(begun) == [0, 1]


def test_a_thread_that_waits_for_ever_is_left_behind() -> None:
    """A failure is raised soon, also when a server never answers another thread."""
    never = threading.Event()

    def act(item: int) -> None:
        if item == 0:
            raise KeyError("first")
        never.wait(DEADLINE_S)

    started = time.monotonic()
    with pytest.raises(KeyError), Crew() as crew:
        crew.each(act, range(2), threads=2)
    assert time.monotonic() - started < GRACE_S + DEADLINE_S / 2
    never.set()


def test_what_was_started_ends_with_the_block() -> None:
    """Without a failure, the block waits for its threads; answer or failure is there for whoever asks."""
    gate = threading.Event()

    def fail() -> None:
        raise KeyError("asked")

    with Crew() as crew:
        slow = crew.start(lambda: gate.wait(DEADLINE_S))
        failing = crew.start(fail)
        with pytest.raises(KeyError, match="asked"):
            failing.result(DEADLINE_S)
        gate.set()
    assert slow.done()
    assert slow.result()
