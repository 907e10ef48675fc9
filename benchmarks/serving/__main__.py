"""Measure, print the table, and write it: `python -m benchmarks.serving [--quick] [--only CASE]…`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from platformdirs import user_cache_path

from benchmarks.containerize.parts import commit, fresh_checkout
from benchmarks.containerize.table import Row, machine, markdown
from benchmarks.serving import bulk, forms, images, overload, throughput
from benchmarks.serving.bench import FULL, QUICK, Bench
from benchmarks.serving.environments import WANTED, environment
from benchmarks.serving.wrk import ensure_wrk

RESULTS = Path(__file__).with_name("results.md")

CASES: dict[str, Callable[[Bench], list[Row]]] = {
    "float": throughput.floats,
    "text": throughput.text,
    "mixed": throughput.mixed,
    "forms": forms.forms,
    "bulk": bulk.bulk,
    "start": images.start,
    "memory": images.memory,
    "overload": overload.overload,
}

NOTES = (
    "One worker each, every server with all its processes pinned to one core, wrk to another; loopback; "
    "medians. All servers of a case run at the same time and are asked in turns. wrk fails at any answer "
    "but 200; one answer of each is compared with the model's own predictions before.",
    "runbake is the last commit in a fresh checkout with its locked wheels; start and memory are of an "
    "image that `runbake containerize` made, run read-only and as its own user by a Docker engine.",
    "limit is FastAPI on uvicorn with httptools and uvloop, whose route reads the body and answers the "
    "bytes of runbake's answer. mlflow is `mlflow models serve --env-manager local --workers 1`. mlserver "
    "is MLServer with its MLflow runtime, asked in the Open Inference Protocol, without worker processes. "
    "bentoml and litserve are services written by hand: a list of rows becomes an array and goes to "
    "`predict`.",
    "Core milliseconds are the processor time of all of a server's processes for one answer at 16 "
    "connections: other work on the machine moves it less than answers a second.",
    "Memory is the sum of PSS of all processes, from the kernel; a megabyte is a million bytes.",
    "Overload is an open loop: requests are sent when they are due, whatever became of the earlier ones, "
    "and their latency counts from then. The model is a support vector machine, which costs the same for "
    "each row.",
)


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="short runs, one repeat, nothing written: a smoke test"
    )
    parser.add_argument("--only", action="append", choices=list(CASES), help="these cases, nothing written")
    parser.add_argument(
        "--cache", type=Path, help="where the environments are kept  [default: the user's cache]"
    )
    parser.add_argument("--runtime", type=Path, help="directory of another runbake_serving, nothing written")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _ended)  # servers, containers and images go with us
    whole = not (arguments.quick or arguments.only or arguments.runtime)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="runbake-benchmark-") as name:
        work = Path(name)
        work.chmod(0o755)
        bench = Bench(
            cache=arguments.cache or user_cache_path("runbake") / "benchmarks",
            work=work,
            runtime=arguments.runtime or fresh_checkout(work / "checkout") / "serving_template",
            sizes=QUICK if arguments.quick else FULL,
        )
        ensure_wrk(work)
        with bench.ends:
            rows = _measured(arguments.only or list(CASES), bench)
    text = markdown(
        rows,
        title="The server in figures",
        head=_head(minutes=(time.monotonic() - started) / 60),
        notes=(*NOTES, *([_versions(bench.cache)] if whole else ())),
    )
    print(text)
    if whole:
        RESULTS.write_text(text, encoding="utf-8")
    return int(not arguments.quick and any(row.reached is False for row in rows))


def _ended(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _head(*, minutes: float) -> str:
    command = " ".join(["python -m benchmarks.serving", *sys.argv[1:]])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, `{command}`, {machine()}. "
        f"{minutes:.0f} minutes; load averages at the end: {load}."
    )


def _versions(cache: Path) -> str:
    told = []
    for name in WANTED:
        if name in ("runbake", "limit"):
            continue
        found = environment(name, cache).versions
        same = ", ".join(f"{other} {found[other]}" for other in ("numpy", "scikit-learn"))
        told.append(f"{name} {found[name]} ({same})")
    return f"Versions: {'; '.join(told)}."


def _measured(chosen: list[str], bench: Bench) -> list[Row]:
    rows: list[Row] = []
    for name in chosen:
        started = time.monotonic()
        found = CASES[name](bench)
        for row in found:
            print(f"{name}: {row.what}: {row.ours} | {row.peer} | {row.found}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        rows += found
    return rows


if __name__ == "__main__":
    sys.exit(main())
