"""Start and memory of real images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.processes import pss_bytes
from benchmarks.serving import servers
from benchmarks.serving.bench import Bench
from benchmarks.serving.containers import container, image, start_of, user_of
from benchmarks.serving.models import Saved
from benchmarks.serving.servers import NotThere, Running, wait_for_200
from benchmarks.serving.wrk import check, load
from benchmarks.table import Row, megabytes
from lab.ports import port_for
from lab.process import identity_of

_ROWS = 2
_PATH = "/invocations"


def start(bench: Bench) -> list[Row]:
    """From `docker run` to the first 200, without network, beside MLflow's process."""
    saved = bench.saved("float")
    reference = image(bench, "float", saved)
    starts = [start_of(reference) for _ in range(bench.sizes.starts)]
    seconds, cpu_s = [one.seconds for one in starts], median(one.cpu_seconds for one in starts)
    told = f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
    with bench.running([servers.MLFLOW], saved) as (theirs,):
        mlflow_s = theirs.seconds_to_first_200
    return [
        Row(
            what="`docker run --read-only --network none` to the first 200, scikit-learn",
            ours=f"{told}, {cpu_s:.2f} s of a core",
            peer=f"mlflow models serve, without a container: {mlflow_s:.1f} s",
            found=f"{median(seconds):.2f} s",
            limit="2.0 s",
            reached=median(seconds) <= 2.0,
        )
    ]


def memory(bench: Bench) -> list[Row]:
    """PSS of all processes after many requests: one worker; four beside one with a large model."""
    small, big = bench.saved("float"), bench.saved("big")
    one = _pss_after_requests(bench, image(bench, "float", small), small, workers=1)
    large = image(bench, "big", big)
    single = _pss_after_requests(bench, large, big, workers=1)
    four = _pss_after_requests(bench, large, big, workers=4)
    return [
        Row(
            what=f"memory of one worker, scikit-learn, after {bench.sizes.requests:,} requests (PSS)",
            ours=megabytes(one),
            peer=f"mlflow, after {bench.sizes.seconds} s of load: {megabytes(_mlflow(bench, small))}",
            found=megabytes(one),
            limit="160 MB",
            reached=one <= 160e6,
        ),
        Row(
            what=f"four workers with a 503 MB model, after {bench.sizes.requests:,} requests (PSS)",
            ours=megabytes(four),
            peer=f"one worker: {megabytes(single)}",
            found=f"{four / single:.2f}x",
            limit="1.4x",
            reached=four <= 1.4 * single,
        ),
    ]


def _pss_after_requests(bench: Bench, reference: str, saved: Saved, *, workers: int) -> int:
    with on_host(bench, reference, workers=workers) as running:
        body, answers = saved.split(_ROWS), 0.0
        check(running, _PATH, body)
        while answers < bench.sizes.requests:
            answers += load(running, _PATH, body, connections=16, seconds=2, work=bench.work).answers
        found = pss_bytes(running.pid)
    print(f"{saved.path.name}, {workers} workers: {megabytes(found)} after {answers:.0f}", file=sys.stderr)
    return found


@contextmanager
def on_host(bench: Bench, reference: str, *, workers: int) -> Iterator[Running]:
    """A container on 127.0.0.1, as its own user.

    Raises:
        NotThere: it does not answer, or runs as root.
    """
    with port_for(20_500) as port:
        settings = {"RUNBAKE_HOST": "127.0.0.1", "RUNBAKE_PORT": port, "RUNBAKE_WORKERS": workers}
        options = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
        with container(reference, "--network", "host", *options) as (pid, _):
            wait_for_200(
                port, "/ping", alive=lambda: identity_of(pid) is not None, log=Path(bench.work, "none")
            )
            if user_of(pid) == 0:
                raise NotThere("the container runs as root")
            server = servers.runbake(bench.runtime)
            yield Running(server=server, pid=pid, port=port, log=bench.work, seconds_to_first_200=0.0)


def _mlflow(bench: Bench, saved: Saved) -> int:
    body = saved.split(_ROWS)
    with bench.running([servers.MLFLOW], saved) as (theirs,):
        load(theirs, _PATH, body, connections=16, seconds=bench.sizes.seconds, work=bench.work)
        return pss_bytes(theirs.pid)
