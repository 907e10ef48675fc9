"""Size, start, memory and latency of one flavor, ours in a container and MLflow's, in one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.commands import timed
from benchmarks.processes import pss_bytes
from benchmarks.serving import servers
from benchmarks.serving.bench import Bench
from benchmarks.serving.containers import image, start_of
from benchmarks.serving.environments import environment
from benchmarks.serving.images import on_host
from benchmarks.serving.models import Saved
from benchmarks.serving.servers import Running, Server
from benchmarks.serving.wrk import check, load, middle
from benchmarks.table import Row, megabytes

_ROWS, _CONNECTIONS = 2, 1
_PATH = "/invocations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A flavor's model, saved into a directory, and MLflow's server for it.

    `peer` has the name of an environment (a key of `environments.WANTED`) that can load the model.
    """

    save: Callable[[Path], Saved]
    peer: Server = servers.MLFLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one server takes: bytes on disk, seconds to the first 200, bytes of memory under load, p50."""

    disk_bytes: int
    start_s: float
    memory_bytes: int
    p50_ms: float


def figures(bench: Bench, name: str, measured: Measured) -> list[Row]:
    """Four lines of the table for a flavor; each is a ratio of two figures of this run.

    Raises:
        NotThere: one of the two does not come up, or does not answer as the model does.
    """
    saved = measured.save(bench.work / "models")
    ours = _ours(bench, image(bench, f"flavor-{name}", saved), saved)
    theirs = _theirs(bench, measured.peer, saved)
    return [
        _row(f"{name}: image, and MLflow's environment without a system (disk)", _disk, ours, theirs),
        _row(f"{name}: start to the first 200", _start, ours, theirs),
        _row(f"{name}: memory of one worker under load (PSS)", _memory, ours, theirs),
        _row(f"{name}: p50 of {_ROWS} rows, one connection", _latency, ours, theirs),
    ]


def _ours(bench: Bench, reference: str, saved: Saved) -> Figures:
    inspected = json.loads(timed(["docker", "image", "inspect", reference]).stdout)
    starts = [start_of(reference).seconds for _ in range(bench.sizes.starts)]
    with on_host(bench, reference, workers=1) as running:
        p50_ms, memory_bytes = _loaded(bench, running, saved)
    return Figures(
        disk_bytes=inspected[0]["Size"], start_s=median(starts), memory_bytes=memory_bytes, p50_ms=p50_ms
    )


def _theirs(bench: Bench, peer: Server, saved: Saved) -> Figures:
    directory = environment(peer.name, bench.cache).python.parent.parent
    disk_bytes = int(timed(["du", "-sb", directory]).stdout.split()[0])
    starts = []
    for _ in range(bench.sizes.repeats):
        with _running(bench, peer, saved) as running:
            starts.append(running.seconds_to_first_200)
    with _running(bench, peer, saved) as running:
        p50_ms, memory_bytes = _loaded(bench, running, saved)
    return Figures(disk_bytes=disk_bytes, start_s=median(starts), memory_bytes=memory_bytes, p50_ms=p50_ms)


@contextmanager
def _running(bench: Bench, peer: Server, saved: Saved) -> Iterator[Running]:
    with bench.running([peer], saved) as (running,):
        yield running


def _loaded(bench: Bench, running: Running, saved: Saved) -> tuple[float, int]:
    """The p50 in milliseconds, and the memory when it is over."""
    body = saved.split(_ROWS)
    check(running, _PATH, body)
    loads = [
        load(running, _PATH, body, connections=_CONNECTIONS, seconds=bench.sizes.seconds, work=bench.work)
        for _ in range(bench.sizes.repeats)
    ]
    return middle(loads).p50_ms, pss_bytes(running.pid)


_Told = tuple[float, str]


def _disk(found: Figures) -> _Told:
    return found.disk_bytes, megabytes(found.disk_bytes)


def _start(found: Figures) -> _Told:
    return found.start_s, f"{found.start_s:.2f} s"


def _memory(found: Figures) -> _Told:
    return found.memory_bytes, megabytes(found.memory_bytes)


def _latency(found: Figures) -> _Told:
    return found.p50_ms, f"{found.p50_ms:.2f} ms"


def _row(what: str, figure: Callable[[Figures], _Told], ours: Figures, theirs: Figures) -> Row:
    (our_value, our_text), (their_value, their_text) = figure(ours), figure(theirs)
    return Row(
        what=what,
        ours=our_text,
        peer=f"mlflow: {their_text}",
        found=f"{our_value / their_value:.2f}x",
        limit="",
        reached=None,
    )
