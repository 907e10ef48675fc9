"""Ten thousand rows in one request."""

from __future__ import annotations

import json
import os
import sys

from benchmarks.commands import timed
from benchmarks.serving import servers
from benchmarks.serving.bench import Bench
from benchmarks.serving.cores import SERVER_CORE
from benchmarks.serving.environments import environment
from benchmarks.serving.models import Body, Saved
from benchmarks.serving.servers import NotThere, Running
from benchmarks.serving.wrk import Load, check, load, middle
from benchmarks.table import Row

_ROWS = 10_000
_PATH = "/invocations"
_SECONDS = 4
"""At least: one request takes mlflow as long as a short run."""
_BARE = """
import json, pickle, statistics, sys, time
import pandas
model = pickle.loads(open(sys.argv[1] + "/model.pkl", "rb").read())
frame = pandas.read_pickle(sys.argv[2])
took = {}
for name, rows in (("frame", frame), ("array", frame.to_numpy())):
    times = []
    for _ in range(300):
        started = time.perf_counter()
        model.predict(rows)
        times.append(time.perf_counter() - started)
    took[name] = statistics.median(times)
print(json.dumps(took))
"""


def bulk(bench: Bench) -> list[Row]:
    """JSON beside MLflow's JSON; an Arrow stream beside that and beside the bare call of `predict`."""
    saved = bench.saved("float")
    table, stream = saved.split(_ROWS), saved.arrow(_ROWS)
    with bench.running([servers.runbake(bench.runtime), servers.MLFLOW], saved) as (ours, mlflow):
        has_arrow = _understands(ours, stream)
        turns = [("json", ours, table), ("mlflow", mlflow, table)]
        turns += [("arrow", ours, stream)] if has_arrow else []
        found = _taking_turns(bench, turns)
    bare = _bare_seconds(bench, saved)
    rows = [_beside_mlflow("JSON", found["json"], found["mlflow"])]
    if not has_arrow:
        return [
            *rows,
            _not_there("Arrow stream beside mlflow's JSON", "5x"),
            _not_there("beside predict", "3x"),
        ]
    took = 1 / found["arrow"].per_second
    return [
        *rows,
        _beside_mlflow("Arrow stream", found["arrow"], found["mlflow"]),
        Row(
            what=f"{_ROWS:,} float rows in one Arrow stream request, beside the bare predict call",
            ours=f"{took * 1e3:.1f} ms",
            peer=f"of an array: {bare['array'] * 1e3:.1f} ms, of a frame: {bare['frame'] * 1e3:.1f} ms",
            found=f"{took / bare['frame']:.1f}x the frame's, {took / bare['array']:.1f}x the array's",
            limit="3x",
            reached=took <= 3 * bare["frame"],
        ),
    ]


def _understands(ours: Running, stream: Body) -> bool:
    try:
        check(ours, _PATH, stream)
    except NotThere as error:
        print(f"Arrow: {error}", file=sys.stderr)
        return False
    return True


def _taking_turns(bench: Bench, turns: list[tuple[str, Running, Body]]) -> dict[str, Load]:
    found: dict[str, list[Load]] = {}
    for _, running, body in turns:
        check(running, _PATH, body)
    for _ in range(bench.sizes.repeats):
        for name, running, body in turns:
            seconds = max(_SECONDS, bench.sizes.seconds)
            one = load(running, _PATH, body, connections=1, seconds=seconds, work=bench.work)
            print(f"{_ROWS} rows, {name}: {one}", file=sys.stderr)
            found.setdefault(name, []).append(one)
    return {name: middle(loads) for name, loads in found.items()}


def _bare_seconds(bench: Bench, saved: Saved) -> dict[str, float]:
    frame = bench.work / "rows.pkl"
    saved.rows.head(_ROWS).to_pickle(frame)
    python = environment("runbake", bench.cache).python
    done = timed(
        ["taskset", "-c", str(SERVER_CORE), python, "-W", "ignore", "-c", _BARE, saved.path, frame],
        environment={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout))


def _beside_mlflow(what: str, ours: Load, theirs: Load) -> Row:
    times = ours.per_second / theirs.per_second
    return Row(
        what=f"{_ROWS:,} float rows in one request, {what} beside mlflow's JSON, 1 connection",
        ours=f"{ours.per_second * _ROWS:,.0f} rows/s",
        peer=f"mlflow: {theirs.per_second * _ROWS:,.0f} rows/s",
        found=f"{times:.1f}x",
        limit="5x",
        reached=times >= 5,
    )


def _not_there(what: str, limit: str) -> Row:
    return Row(
        what=f"{_ROWS:,} float rows in one request, {what}",
        ours="not understood",
        peer="",
        found="",
        limit=limit,
        reached=False,
    )
