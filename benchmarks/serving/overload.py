"""Five times more than the server can carry, for a minute."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parts import ROOT
from benchmarks.processes import pss_bytes
from benchmarks.serving import servers
from benchmarks.serving.bench import Bench
from benchmarks.serving.cores import CLIENT_CORE
from benchmarks.serving.servers import Running, ask
from benchmarks.serving.wrk import check, load
from benchmarks.table import Row, megabytes

_ROWS, _TIMES = 30, 5
_PATH = "/invocations"
_DEADLINE_S = 30.0
"""The default of RUNBAKE_DEADLINE_S."""
_AT_ONCE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What became of the requests; seconds."""

    accepted: Sequence[float]
    refused: Sequence[float]
    other: dict[str, int]


def overload(bench: Bench) -> list[Row]:
    """Statuses, the accepted ones' p99, memory, and how soon it is well again."""
    saved = bench.saved("heavy")
    body = saved.split(_ROWS)
    file = bench.work / "overload-body"
    file.write_bytes(body.content)
    with bench.running([servers.runbake(bench.runtime)], saved) as (ours,):
        check(ours, _PATH, body)
        load(ours, _PATH, body, connections=16, seconds=1, work=bench.work)
        before = load(ours, _PATH, body, connections=16, seconds=5, work=bench.work)
        with _sampled(ours) as memory:
            found = _asked(ours, before.per_second * _TIMES, bench.sizes.overload_s, file)
        recovery_s = _seconds_to_answer(ours, body.content)
        after = load(ours, _PATH, body, connections=16, seconds=5, work=bench.work)
    third = max(1, len(memory) // 3)
    first, last = max(memory[:third]), max(memory[-third:])
    p99_s = _percentile(found.accepted, 0.99)
    refused_ms = _percentile(found.refused, 0.99) * 1e3
    share = after.per_second / before.per_second
    what = f"{_TIMES}x overload ({before.per_second * _TIMES:.0f}/s) for {bench.sizes.overload_s} s"
    return [
        Row(
            what=f"{what}: answers",
            ours=f"{len(found.accepted)} x 200, {len(found.refused)} x 503 (p99 {refused_ms:.0f} ms)",
            peer=f"it carries {before.per_second:.0f}/s, {_ROWS} rows each",
            found=json.dumps(found.other) if found.other else "no other answer, none lost",
            limit="200 and 503 only",
            reached=not found.other and bool(found.accepted),
        ),
        Row(
            what=f"{what}: p99 of the accepted",
            ours=f"p50 {_percentile(found.accepted, 0.5):.2f} s, p99 {p99_s:.2f} s",
            peer="",
            found=f"{p99_s:.2f} s",
            limit=f"the deadline, {_DEADLINE_S:.0f} s",
            reached=p99_s <= _DEADLINE_S,
        ),
        Row(
            what=f"{what}: memory (PSS)",
            ours=f"{megabytes(memory[0])} before, {megabytes(max(memory))} at most",
            peer=f"at most in the first third: {megabytes(first)}, in the last: {megabytes(last)}",
            found=f"{last / first:.2f}x",
            limit="1.1x",
            reached=last <= 1.1 * first,
        ),
        Row(
            what=f"{what}: well again",
            ours=f"a 200 after {recovery_s * 1e3:.0f} ms, {after.per_second:.0f}/s",
            peer=f"{before.per_second:.0f}/s before",
            found=f"{recovery_s:.2f} s, {share:.0%}",
            limit=f"{_AT_ONCE_S:.0f} s, 80 %",
            reached=recovery_s <= _AT_ONCE_S and share >= 0.8,
        ),
    ]


def _percentile(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _asked(ours: Running, rate: float, seconds: int, body: Path) -> _Found:
    command = ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "benchmarks.serving.open_loop"]
    done = subprocess.run(
        [*command, str(ours.port), f"{rate:.1f}", str(seconds), str(body)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    told = json.loads(done.stdout)
    latencies = told["latencies"]
    accepted, refused = latencies.pop("200", []), latencies.pop("503", [])
    other = {**{status: len(several) for status, several in latencies.items()}, **told["broken"]}
    return _Found(accepted=accepted, refused=refused, other=other)


@contextmanager
def _sampled(ours: Running) -> Iterator[list[int]]:
    """PSS twice a second while the block runs."""
    ended, found = threading.Event(), [pss_bytes(ours.pid)]

    def sample() -> None:
        while not ended.wait(0.5):
            found.append(pss_bytes(ours.pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _seconds_to_answer(ours: Running, content: bytes) -> float:
    started = time.monotonic()
    while ask(ours.port, _PATH, "application/json", content)[0] != 200:
        if time.monotonic() - started > 60:
            break
    return time.monotonic() - started
