"""Background processes of the lab."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.process import identity_of, start_in_background, stop_process, tail_of, wait_until

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
    "time.sleep(60)"
)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A background process and its identity."""
    pid = start_in_background(SLEEPER, log=tmp_path / "log")
    identity = identity_of(pid)
    assert identity is not None
    yield pid, identity
    stop_process(pid, identity, deadline_s=0)


def test_identity_is_stable_and_ends_with_the_process(sleeper: tuple[int, str]) -> None:
    """One process has one identity as long as it lives, and none after it was stopped."""
    pid, identity = sleeper
    assert identity_of(pid) == identity
    stop_process(pid, identity, deadline_s=10)
    assert identity_of(pid) is None


def test_another_process_with_the_same_number_is_left_alone(sleeper: tuple[int, str]) -> None:
    """A recorded number that belongs to a later process now is not killed."""
    pid, identity = sleeper
    stop_process(pid, f"{identity}0", deadline_s=0)
    assert identity_of(pid) == identity


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """After the deadline nothing of ours stays."""
    log = tmp_path / "log"
    pid = start_in_background([sys.executable, "-S", "-c", DEAF], log=log)
    wait_until(lambda: "deaf" in tail_of(log), pid=pid, log=log, what="deaf", deadline_s=10)
    stop_process(pid, identity_of(pid) or "", deadline_s=0.2)
    assert identity_of(pid) is None


def test_a_zombie_counts_as_gone() -> None:
    """A process that has ended but was not collected does not pass for a running service."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()  # the end of its output comes with its end, but shortly before
        wait_until(lambda: identity_of(process.pid) is None, pid=1, log=Path(), what="child", deadline_s=10)


def test_waiting_for_a_process_that_ends_shows_its_log(tmp_path: Path) -> None:
    """A service that dies at its start fails at once, with what it said."""
    log = tmp_path / "log"
    pid = start_in_background([sys.executable, "-S", "-c", "print('no such disk')"], log=log)
    with pytest.raises(LabError, match=r"toy ended at once:\nno such disk"):
        wait_until(lambda: False, pid=pid, log=log, what="toy", deadline_s=30)


def test_waiting_has_a_deadline(sleeper: tuple[int, str], tmp_path: Path) -> None:
    """A service that never answers is an error in bounded time."""
    with pytest.raises(LabError, match=r"toy is not ready after 0\.2 s"):
        wait_until(lambda: False, pid=sleeper[0], log=tmp_path / "log", what="toy", deadline_s=0.2)
