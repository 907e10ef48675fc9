"""What the server's processes take from the machine, together. Empty where there is no /proc.

Source: proc(5), `/proc/[pid]/stat` and `smaps_rollup`; names as Prometheus' own clients have them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runbake_serving.metrics.exposition import Family, Sample

_PROC = Path("/proc")
_GONE = (OSError, ValueError, IndexError)


def process_families(supervisor: int, workers: Iterable[int]) -> list[Family]:
    """CPU time, memory, files and start of these processes; of the ended ones, the CPU time."""
    pids = {supervisor, *workers}
    try:
        own, _ = _stat(supervisor)
        started_s = float(own[19]) / _ticks() + _booted_s()
    except _GONE:
        return []
    # What the supervisor's children took that have ended is in its own fields 16 and 17.
    cpu_s = float(int(own[13]) + int(own[14])) / _ticks()
    memory = files = 0
    for pid in pids:
        with suppress(*_GONE):
            fields, resident = _stat(pid)
            cpu_s += float(int(fields[11]) + int(fields[12])) / _ticks()
            memory += _share(pid) or resident
            files += len(os.listdir(_PROC / str(pid) / "fd"))
    return [
        _family("process_cpu_seconds", "counter", "CPU time of all processes, ended ones included.", cpu_s),
        _family(
            "process_resident_memory_bytes",
            "gauge",
            "Memory of all processes, what they share counted once.",
            memory,
        ),
        _family("process_open_fds", "gauge", "Open files of all processes.", files),
        _family("process_start_time_seconds", "gauge", "When the server started, in Unix time.", started_s),
    ]


def _family(name: str, kind: str, text: str, value: float) -> Family:
    return Family(name=name, kind=kind, help=text, samples=(Sample(value=value),))


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[list[str], int]:
    """The fields after the name (which may hold blanks and brackets), and the resident bytes."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return fields, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def _share(pid: int) -> int:
    """Bytes of memory, where a page of n processes counts as 1/n; 0 where the kernel does not tell."""
    with suppress(*_GONE):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _booted_s() -> float:
    for line in (_PROC / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    raise ValueError("no btime")
