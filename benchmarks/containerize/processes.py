"""Commands, timed from outside, with the memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.02


class CommandFailed(Exception):
    """A measured command did not do its work; its time means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished command.

    `largest_rss_bytes` is the kernel's peak of the largest of its processes; `tree_rss_bytes` the largest sum
    over all of them at one moment, sampled 50 times a second, and 0 where nobody asked. Shared pages count
    once for each process in it.
    """

    seconds: float
    stdout: str
    stderr: str
    largest_rss_bytes: int
    tree_rss_bytes: int


def timed(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    sample_memory: bool = False,
    stdin: bytes = b"",
) -> Done:
    """Run a command to its end.

    Raises:
        CommandFailed: it ended with another status than 0; the message has the end of what it said.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environment is None else dict(environment),
        cwd=cwd,
    )
    tree = _Sampler(process.pid) if sample_memory else None
    stdout, stderr = process.communicate(stdin)
    seconds = time.perf_counter() - started
    peak = tree.stop() if tree else 0
    if process.returncode != 0:
        said = (stdout[-1500:] + stderr[-3000:]).decode(errors="replace")
        raise CommandFailed(f"{' '.join(map(str, command))[:300]} ended with {process.returncode}:\n{said}")
    return Done(
        seconds=seconds,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
        largest_rss_bytes=tree.largest if tree else 0,
        tree_rss_bytes=peak,
    )


class _Sampler:
    """Watches a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._ended = pid, 0, threading.Event()
        self.largest = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            processes = list(_tree(self._pid))
            self._peak = max(self._peak, sum(_rss_bytes(pid) for pid in processes))
            self.largest = max(self.largest, *(_high_water_bytes(pid) for pid in processes))

    def stop(self) -> int:
        """The largest sum seen, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak


def _tree(pid: int) -> Iterable[int]:
    yield pid
    command = _read(Path(f"/proc/{pid}/cmdline"))
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(listed).split():
            # Between vfork and exec a child has its parent's memory and name; runbake only ever execs.
            if _read(Path(f"/proc/{child}/cmdline")) != command:
                yield from _tree(int(child))


def _rss_bytes(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def _high_water_bytes(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process ended between two looks
        return ""
