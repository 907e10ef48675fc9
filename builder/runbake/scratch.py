"""Directories for one piece of work; those of a process that was killed are removed by the next one.

Each is locked while it is in use. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "tmp-"
_LOCK, _WORK = "lock", "work"
_in_use: set[Path] = set()


@contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """An empty directory on the device of `parent`, removed at the end.

    Raises:
        OSError: it cannot be made there.
    """
    sweep(parent)
    home, handle = _made(parent)
    _in_use.add(home)
    try:
        work = home / _WORK
        work.mkdir()
        yield work
    finally:
        # What an abandoned thread writes meanwhile, the next sweep removes.
        shutil.rmtree(home, ignore_errors=True)
        _in_use.discard(home)
        os.close(handle)


@atexit.register
def _remove_abandoned() -> None:
    """A thread that waits for a server is not waited for (see `crew`), and never comes to its `finally`."""
    for home in tuple(_in_use):
        shutil.rmtree(home, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove the directories whose processes are gone."""
    for home in parent.glob(f"{PREFIX}*"):
        _remove_left(home)


def oldest_begun_at_ns(parent: Path) -> int | None:
    """When the oldest work that is still going on began, by the file system's clock; None for no work."""
    return min(filter(None, map(_begun_at_ns, parent.glob(f"{PREFIX}*"))), default=None)


def _remove_left(home: Path) -> None:
    try:
        # Made where it is missing: who has just made the directory waits for it, and makes another.
        handle = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # removed by somebody else, or not ours to judge
    try:
        if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(home, ignore_errors=True)
    finally:
        os.close(handle)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        home = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        try:
            handle = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # another process swept it before there was anything to lock
        _lock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return home, handle
        os.close(handle)


def _begun_at_ns(home: Path) -> int | None:
    """When the work in a directory began, None where its process is gone."""
    try:
        handle = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Nothing is written into the lock file, so its time stays that of its making.
        return None if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB) else os.fstat(handle).st_mtime_ns
    finally:
        os.close(handle)


def _lock(handle: int, how: int) -> bool:
    """Whether the lock was got; on a file system without locks it never is, and nothing is swept."""
    try:
        fcntl.flock(handle, how)
    except OSError:
        return False
    return True
