"""Directories and marks for one piece of work: gone at its end, or found by the next process after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runbake.scratch import PREFIX, left_marks, marked, oldest_begun_at_ns, scratch_directory, sweep

HOLD = """
import sys
from pathlib import Path
from runbake.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1])) as work:
    (work / "half").write_bytes(b"x")
    print("ready", flush=True)
    sys.stdin.read()
"""

MARK = """
import sys, time
from pathlib import Path
from runbake.scratch import marked
with marked(Path(sys.argv[1])) as mark:
    print(mark, flush=True)
    time.sleep(600)
"""

SWEEP = """
import fcntl, os, sys
from pathlib import Path
from runbake.scratch import sweep
def look(event, arguments):
    if event == "shutil.rmtree":
        handle = os.open(Path(arguments[0]) / "lock", os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("held")
        os.close(handle)
sys.addaudithook(look)
sweep(Path(sys.argv[1]))
"""


PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def homes(parent: Path) -> list[Path]:
    """The scratch directories that are there."""
    return sorted(parent.glob(f"{PREFIX}*"))


def held_by_another_process(parent: Path) -> subprocess.Popen[bytes]:
    """A process that holds a scratch directory until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)],
        env=PATHS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_it_is_removed_at_the_end_also_of_a_failure(tmp_path: Path) -> None:
    """Whatever is in it goes with it."""
    with scratch_directory(tmp_path) as work:
        (work / "a").mkdir()
        assert list(work.iterdir()) == [work / "a"]
    with pytest.raises(KeyError), scratch_directory(tmp_path):
        raise KeyError
    assert homes(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """kill -9 leaves a directory, which stays while its process lives and goes when it is gone."""
    with held_by_another_process(tmp_path) as process:
        with scratch_directory(tmp_path):
            assert len(homes(tmp_path)) == 2, "nobody sweeps what another process uses"
        process.send_signal(signal.SIGKILL)
    assert len(homes(tmp_path)) == 1

    with scratch_directory(tmp_path) as work:
        assert homes(tmp_path) == [work.parent]


def test_what_an_abandoned_thread_holds_is_removed_when_the_process_ends(tmp_path: Path) -> None:
    """A daemon thread that never comes back leaves nothing, where the process ends by itself."""
    script = """
import sys, threading
from pathlib import Path
from runbake.scratch import scratch_directory
begun = threading.Event()
def wait():
    with scratch_directory(Path(sys.argv[1])):
        begun.set()
        threading.Event().wait()
threading.Thread(target=wait, daemon=True).start()
begun.wait(30)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=PATHS, check=True, timeout=60)
    assert homes(tmp_path) == []


def test_what_was_there_before_there_were_locks_is_removed(tmp_path: Path) -> None:
    """A directory without a lock is nobody's; files and other names are not looked at."""
    (tmp_path / f"{PREFIX}old").mkdir()
    (tmp_path / "blobs").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]


def test_the_oldest_work_is_known_by_its_begin(tmp_path: Path) -> None:
    """The time is that of the begin, whatever was written since, and None when nobody works."""
    assert oldest_begun_at_ns(tmp_path) is None
    with scratch_directory(tmp_path) as first:
        begun = oldest_begun_at_ns(tmp_path)
        assert begun is not None
        (first / "later").write_bytes(b"x")
        with scratch_directory(tmp_path):
            assert oldest_begun_at_ns(tmp_path) == begun
    assert oldest_begun_at_ns(tmp_path) is None


def test_what_cannot_be_looked_at_may_be_going_on(tmp_path: Path) -> None:
    """A lock that cannot be opened, as another user's, is no proof of a death: nothing is pruned for it."""
    home = tmp_path / f"{PREFIX}other"
    (home / "lock").mkdir(parents=True)  # opening it for writing fails for root too
    assert oldest_begun_at_ns(tmp_path) == home.stat().st_mtime_ns


def test_a_mark_is_left_by_a_killed_process_only(tmp_path: Path) -> None:
    """While its process lives nobody sweeps it; afterwards it is handed out until that went well."""
    with marked(tmp_path) as mine, left_marks(tmp_path) as left:
        assert left == ()
    with left_marks(tmp_path) as left:
        assert left == (), f"{mine} was taken back"
    process = subprocess.Popen([sys.executable, "-c", MARK, str(tmp_path)], env=PATHS, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        mark = process.stdout.readline().decode().strip()
        process.kill()
    with pytest.raises(KeyError), left_marks(tmp_path) as left:
        raise KeyError
    with left_marks(tmp_path) as left:
        assert left == (mark,)
    with left_marks(tmp_path) as left:
        assert left == ()


def test_a_mark_whose_work_failed_is_looked_after_again(tmp_path: Path) -> None:
    """What failed may have failed to clean up."""
    with pytest.raises(KeyError), marked(tmp_path) as mine:
        raise KeyError
    with left_marks(tmp_path) as left:
        assert left == (mine,)


def test_a_directory_is_locked_while_it_is_swept(tmp_path: Path) -> None:
    """Who has just made it, and has not locked it yet, waits and makes another, instead of losing it."""
    (tmp_path / f"{PREFIX}new").mkdir()
    swept = subprocess.run(
        [sys.executable, "-c", SWEEP, str(tmp_path)], env=PATHS, capture_output=True, check=True
    )
    assert swept.stdout == b"held\n"
    assert homes(tmp_path) == []
