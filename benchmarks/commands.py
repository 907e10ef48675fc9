"""Commands, timed from outside, with the memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import distinct, high_water_bytes, pss_bytes, rss_bytes

_SAMPLE_S = 0.02
_PSS_SAMPLE_S = 0.1
"""The kernel walks all pages to tell it."""


class CommandFailed(Exception):
    """A measured command did not do its work; its time means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished command.

    `largest_rss_bytes` is the kernel's peak of the largest of its processes; `tree_rss_bytes` the largest sum
    over all of them at one moment, sampled 50 times a second, and 0 where nobody asked. Shared pages count
    once for each process in it. `tree_pss_bytes` is the largest sum of what each has of its own and its share
    of the rest, ten times a second: of forks, each page counts once.
    """

    seconds: float
    stdout: str
    stderr: str
    largest_rss_bytes: int
    tree_rss_bytes: int
    tree_pss_bytes: int


def timed(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    sample_memory: bool = False,
    sample_pss: bool = False,
    stdin: bytes = b"",
) -> Done:
    """Run a command to its end; the clock starts when all that was written before is on the disk.

    Raises:
        CommandFailed: it ended with another status than 0; the message has the end of what it said.
    """
    os.sync()  # or the next command would wait for the writing of the one before
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
    shares = _PssSampler(process.pid) if sample_pss else None
    stdout, stderr = process.communicate(stdin)
    seconds = time.perf_counter() - started
    peak, share = tree.stop() if tree else 0, shares.stop() if shares else 0
    if process.returncode != 0:
        said = (stdout[-1500:] + stderr[-3000:]).decode(errors="replace")
        raise CommandFailed(f"{' '.join(map(str, command))[:300]} ended with {process.returncode}:\n{said}")
    return Done(
        seconds=seconds,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
        largest_rss_bytes=tree.largest if tree else 0,
        tree_rss_bytes=peak,
        tree_pss_bytes=share,
    )


class _Sampler:
    """Watches a process and its descendants until it is stopped."""

    every_s = _SAMPLE_S

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._ended = pid, 0, threading.Event()
        self.largest = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(self.every_s):
            self._peak = max(self._peak, self._now())

    def _now(self) -> int:
        processes = list(distinct(self._pid))
        self.largest = max(self.largest, *(high_water_bytes(pid) for pid in processes))
        return sum(rss_bytes(pid) for pid in processes)

    def stop(self) -> int:
        """The largest sum seen, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak


class _PssSampler(_Sampler):
    """The same by PSS."""

    every_s = _PSS_SAMPLE_S

    def _now(self) -> int:
        return pss_bytes(self._pid)
