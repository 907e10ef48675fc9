"""How many rows one prediction takes: measured by a child that is thrown away, within the memory budget."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_TRIALS: Final = (16, 256, 1024, 4096, 16_384, 65_536)
MOST_ROWS: Final = 65_536
"""More are not faster: what a row needs has to stay near the CPU."""
_LONG_S: Final = 0.3
_BATCH_S: Final = 2.0
_LEAST_BYTES: Final = 64
Trial = tuple[int, float, int]
"""Rows, seconds, and the peak memory in bytes by then."""
_MOST_BUDGET: Final = 1 << 30


def budget_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Half of the memory that is free here, within the cgroup's limit; 1 GiB at most."""
    free = [size for size in (_available(meminfo), _cgroup_room(cgroup)) if size is not None]
    return min(_MOST_BUDGET, *(size // 2 for size in free)) if free else _MOST_BUDGET


def _available(meminfo: Path) -> int | None:
    for line in _text(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_room(cgroup: Path) -> int | None:
    limit, used = _text(cgroup / "memory.max").strip(), _text(cgroup / "memory.current").strip()
    return max(0, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def found_batch_rows(
    predict: Callable[[int], int],
    *,
    forks: bool,
    memory_bytes: int,
    workers: int,
    now_s: Callable[[], float],
) -> int:
    """Rows of one prediction.

    `predict(n)` reads and predicts the first n rows, and says how many there were. It is called in a
    child of its own, so that this process never predicts; unless the model survives no fork.
    """
    tried = list[Trial]()
    if forks:
        tried = _in_a_child(predict, now_s)
    else:
        _try(predict, tried.append, now_s)
    return rows_within(tried, room_bytes=memory_bytes // workers)


def _in_a_child(predict: Callable[[int], int], now_s: Callable[[], float]) -> list[Trial]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_try, args=(predict, theirs.send, now_s), daemon=True)
    child.start()
    theirs.close()
    tried = list[Trial]()
    while True:
        try:
            tried.append(ours.recv())
        except (EOFError, OSError):
            break
    child.join()
    ours.close()
    return tried


def _try(predict: Callable[[int], int], tell: Callable[[Trial], None], now_s: Callable[[], float]) -> None:
    predict(_TRIALS[0])  # what is imported and cached once is no row's
    for rows in _TRIALS:
        began_s = now_s()
        got = predict(rows)
        took_s = now_s() - began_s
        if got:
            tell((got, took_s, _peak_bytes()))
        if got < rows or took_s > _LONG_S:
            return


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rows_within(tried: list[Trial], *, room_bytes: int) -> int:
    """The largest power of two that stays within the room, and within two seconds; pure.

    `tried` has rows, seconds and the peak memory in bytes of each trial, in order. Without any, 1024.
    """
    if not tried:
        return 1024
    rows, took_s, peak = tried[-1]
    first_rows, _, first_peak = tried[0]
    # A row's own room is what more rows add.
    each = (peak - first_peak) / (rows - first_rows) if rows > first_rows else 0.0
    wanted = min(MOST_ROWS, room_bytes / max(each, _LEAST_BYTES), _BATCH_S / max(took_s / rows, 1e-9))
    return 1 << max(0, int(wanted).bit_length() - 1)
