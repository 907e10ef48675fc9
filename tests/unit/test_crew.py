"""Threads that end together."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from runbake.crew import GRACE_S, Crew, Stopped, child_done

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


def test_a_child_process_ends_with_its_crew(tmp_path: Path) -> None:
    """A program that never ends is killed when the block fails, also where a crew within waits for it."""
    begun, ended = tmp_path / "begun", threading.Event()
    script = f"import pathlib, threading; pathlib.Path({str(begun)!r}).touch(); threading.Event().wait()"

    def work(_: int) -> None:
        try:
            child_done([sys.executable, "-c", script], stdin=b"x", environment={})
        finally:
            ended.set()

    def within() -> None:
        with Crew() as inner:
            inner.each(work, (1,), threads=1)

    def fail() -> None:
        with Crew() as crew:
            crew.start(within)
            give_up_at = time.monotonic() + DEADLINE_S
            while not begun.exists():
                assert time.monotonic() < give_up_at
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert ended.wait(DEADLINE_S)


def test_a_child_process_is_told_and_heard() -> None:
    """More bytes than a pipe holds go in and come out; the status is the program's."""
    # It reads late, when it was looked after several times.
    script = (
        "import sys, time as t; t.sleep(0.4); sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.exit(3)"
    )
    with Crew() as crew:
        done = crew.start(
            lambda: child_done([sys.executable, "-c", script], stdin=b"x" * 3_000_000, environment={})
        )
    assert (done.result().returncode, len(done.result().stdout)) == (3, 3_000_000)
