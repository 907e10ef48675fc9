"""Numbers that every worker adds to and any worker can read, also those of workers that were killed.

One anonymous file in memory, made before the fork: the root may be read-only, and there is no directory to
clean. Each worker owns one slot of it by a lock that the kernel lets go when the process ends, however it
ends. Its successor takes the slot over and goes on counting, so that nothing is lost and nothing is doubled.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress

SLOTS = 256
"""Workers at most, as in the settings."""
_DOUBLE_BYTES = 8
_PAGE_BYTES = 4096


class Figures:
    """Slots of `size` numbers each, all 0 in the beginning."""

    def __init__(self, size: int) -> None:
        self._stride = -(-size // (_PAGE_BYTES // _DOUBLE_BYTES)) * _PAGE_BYTES
        self.size = size
        length = _PAGE_BYTES + SLOTS * self._stride  # pages that nobody touches take no memory
        self._fd = _memory_file(length)
        weakref.finalize(self, os.close, self._fd)
        self._memory = mmap.mmap(self._fd, length)
        self._own: int | None = None

    def claim(self) -> memoryview[float]:
        """The numbers of this process: those of a worker that ended, or new ones."""
        for slot in range(SLOTS):
            with suppress(BlockingIOError, PermissionError):
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                self._own = slot
                self._memory[slot] = 1  # used: the first page is a flag for each slot
                return self._slot(slot)
        raise RuntimeError(f"more than {SLOTS} processes of one server")

    def everyones(self) -> Iterator[memoryview[float]]:
        """The numbers of every process there is or was."""
        return (self._slot(slot) for slot in range(SLOTS) if self._memory[slot])

    def of_the_living(self) -> Iterator[memoryview[float]]:
        """The numbers of every process there is."""
        return (self._slot(slot) for slot in range(SLOTS) if self._memory[slot] and self._lives(slot))

    def _slot(self, slot: int) -> memoryview[float]:
        start = _PAGE_BYTES + slot * self._stride
        return memoryview(self._memory)[start : start + self.size * _DOUBLE_BYTES].cast("d")

    def _lives(self, slot: int) -> bool:
        if slot == self._own:
            return True  # trying one's own lock would let it go
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except (BlockingIOError, PermissionError):
            return True
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, slot)
        return False


def _memory_file(length: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("runbake-metrics", os.MFD_CLOEXEC)
    else:  # macOS, outside of an image
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, length)
    return fd
