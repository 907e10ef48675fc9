"""Directories and marks for one piece of work; those of a process that was killed are found by the next one.

Each is locked while it is in use. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


@contextmanager
def marked(parent: Path) -> Iterator[str]:
    """A name that nobody else has, for what this process makes elsewhere, where no lock ends with it.

    It is in `left_marks` afterwards if the block does not end well.

    Raises:
        OSError: it cannot be written down in `parent`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    path, handle = _made_mark(parent)
    try:
        yield path.name
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)


@contextmanager
def left_marks(parent: Path) -> Iterator[tuple[str, ...]]:
    """The marks whose processes are gone, kept from others meanwhile; forgotten if the block ends well."""
    with ExitStack() as handles:
        left = tuple(path for path in sorted(parent.glob("*")) if _is_left(path, handles))
        yield tuple(path.name for path in left)
        for path in left:
            path.unlink(missing_ok=True)


def _is_left(path: Path, handles: ExitStack) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # done by now, or not ours to judge
    handles.callback(os.close, handle)
    return _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _made_mark(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / uuid.uuid4().hex
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _lock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return path, handle
        os.close(handle)  # taken for a dead one's before it was locked


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
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        # Another user's, or no more descriptors: it may go on for all we know.
        return _made_at_ns(home)
    try:
        # Nothing is written into the lock file, so its time stays that of its making.
        return None if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB) else os.fstat(handle).st_mtime_ns
    finally:
        os.close(handle)


def _made_at_ns(home: Path) -> int | None:
    """When a directory was made, at the latest: None where it is gone."""
    try:
        return home.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _lock(handle: int, how: int) -> bool:
    """Whether the lock was got; on a file system without locks it never is, and nothing is swept."""
    try:
        fcntl.flock(handle, how)
    except OSError:
        return False
    return True
