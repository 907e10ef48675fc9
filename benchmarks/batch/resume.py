"""A job that is killed half way and begun again, beside one that is not."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.batch.bench import CORES, Bench, digests, pinned
from benchmarks.commands import CommandFailed
from benchmarks.processes import cpu_seconds
from benchmarks.table import Row

_DEADLINE_S = 600.0


def resume(bench: Bench) -> list[Row]:
    """Processor time of both halves beside one run's, and the parts' bytes."""
    whole, halves = bench.new("whole"), bench.new("halves")
    once = _finished(bench, whole)
    parts = len(digests(whole))
    first = _killed(bench, halves, at_parts=parts // 2)
    second = _finished(bench, halves)
    if digests(whole) != digests(halves):
        raise CommandFailed("the resumed job wrote other parts")
    shutil.rmtree(whole)
    shutil.rmtree(halves)
    return [
        Row(
            what=f"killed after {parts // 2} of {parts} parts and begun again; every part is byte-identical",
            ours=f"{first:.1f} s + {second:.1f} s of a core",
            peer=f"uninterrupted: {once:.1f} s",
            found=f"{(first + second) / once:.3f}x",
            limit="1.05x",
            reached=first + second <= 1.05 * once,
        )
    ]


def _begun(bench: Bench, output: Path) -> subprocess.Popen[bytes]:
    model = bench.floats.path
    return subprocess.Popen(
        [
            *pinned(CORES[:2]),
            str(bench.python("runbake")),
            *bench.job(bench.files, output, "--workers", "2"),
        ],
        env=bench.job_environment(model),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _finished(bench: Bench, output: Path) -> float:
    before = _children_s()
    status = _begun(bench, output).wait()
    if status:
        raise CommandFailed(f"the job ended with {status}")
    return _children_s() - before


def _killed(bench: Bench, output: Path, *, at_parts: int) -> float:
    process = _begun(bench, output)
    give_up_at = time.monotonic() + _DEADLINE_S
    while len(list(output.glob("_parts/*.json"))) < at_parts:
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise CommandFailed("the job was not half done when it was looked at")
        time.sleep(0.01)
    took = cpu_seconds(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return took


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
