"""wrk, pinned to its own core."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.commands import timed
from benchmarks.processes import cpu_seconds
from benchmarks.serving.cores import CLIENT_CORE
from benchmarks.serving.models import Body
from benchmarks.serving.servers import NotThere, Running, ask
from lab.packages import ensure_packages
from lab.story import Story

_SCRIPT = Path(__file__).with_name("post.lua")
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk found: answers, answers a second, latencies and the server's time for one, in milliseconds.

    Its time is what its processes took of the core: other work on the machine moves it least.
    """

    answers: float
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def ensure_wrk(work: Path) -> None:
    """Have wrk, from Debian when it is missing."""
    ensure_packages({"wrk": "wrk"}, log=work / "apt.log", story=Story())


def load(running: Running, path: str, body: Body, *, connections: int, seconds: int, work: Path) -> Load:
    """Ask the same for some seconds over keep-alive connections, each waiting for its answer.

    Raises:
        NotThere: an answer was not 200, or a connection broke.
    """
    file = work / "body"
    file.write_bytes(body.content)
    before_s = cpu_seconds(running.pid)
    done = timed(
        [
            *("taskset", "-c", str(CLIENT_CORE), "wrk", "-t", "1", "-c", str(connections)),
            *("-d", f"{seconds}s", "--timeout", "30s", "-s", _SCRIPT),
            f"http://127.0.0.1:{running.port}{path}",
        ],
        environment={**os.environ, "WRK_BODY": str(file), "WRK_TYPE": body.content_type},
    )
    took_s = cpu_seconds(running.pid) - before_s
    told = json.loads(done.stdout.strip().split("\n")[-1])
    if told["status"] or told["broken"] or not told["requests"]:
        raise NotThere(f"{running.server.name}{path}: {told}")
    return Load(
        answers=told["requests"],
        per_second=told["requests"] / told["microseconds"] * 1e6,
        p50_ms=told["p50"] / 1e3,
        p99_ms=told["p99"] / 1e3,
        cpu_ms=took_s / told["requests"] * 1e3,
    )


def middle(loads: Sequence[Load]) -> Load:
    """The median of each figure."""
    return Load(
        answers=median(one.answers for one in loads),
        per_second=median(one.per_second for one in loads),
        p50_ms=median(one.p50_ms for one in loads),
        p99_ms=median(one.p99_ms for one in loads),
        cpu_ms=median(one.cpu_ms for one in loads),
    )


def check(running: Running, path: str, body: Body) -> bytes:
    """One answer, whose numbers end with the model's own predictions, in order.

    Raises:
        NotThere: another status, or other predictions.
    """
    status, answer = ask(running.port, path, body.content_type, body.content)
    expected = [float(value) for value in body.predictions]
    if status != 200:
        raise NotThere(f"{running.server.name}{path}: {status} {answer[:2000]!r}")
    tail = answer[answer.rfind(b'"data"') if b'"data"' in answer else answer.find(b"[") :]
    if [float(found) for found in _NUMBER.findall(tail)][: len(expected)] != expected:
        raise NotThere(f"{running.server.name}{path}: {answer[:200]!r} instead of {expected[:10]}")
    return answer
