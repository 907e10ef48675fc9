"""What a tree of processes takes, by the kernel's own accounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(listed).split():
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Seconds of a core that a tree of processes has taken so far."""
    ticks = 0
    for one in tree(pid):
        # The command's name, in brackets, may hold spaces; after it user and system time are 11 and 12.
        fields = _read(Path(f"/proc/{one}/stat")).rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:13]))
    return ticks / _TICKS_PER_S


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
