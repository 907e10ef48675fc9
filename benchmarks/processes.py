"""What a tree of processes takes, by the kernel's own accounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(listed).split():
            yield from tree(int(child))


def distinct(pid: int) -> Iterator[int]:
    """The same without children that are still their parent: between vfork and exec one has its memory."""
    yield pid
    command = _read(Path(f"/proc/{pid}/cmdline"))
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(listed).split():
            if _read(Path(f"/proc/{child}/cmdline")) != command:
                yield from distinct(int(child))


def cpu_seconds(pid: int) -> float:
    """Seconds of a core that a tree of processes has taken so far."""
    ticks = 0
    for one in tree(pid):
        # The command's name, in brackets, may hold spaces; after it user and system time are 11 and 12, and
        # those of its children that have ended 13 and 14.
        fields = _read(Path(f"/proc/{one}/stat")).rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Resident memory of one process now; 0 when it has ended."""
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def high_water_bytes(pid: int) -> int:
    """The most resident memory that one process ever had; 0 when it has ended."""
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def pss_bytes(pid: int) -> int:
    """Memory of a tree of processes; what several share is divided among them.

    Only root may ask for other users' processes.

    Raises:
        PermissionError: it belongs to somebody else.
    """
    return sum(_pss_bytes(one) for one in tree(pid))


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended between two looks
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended between two looks
        return ""
