"""The server beside its peers: `python -m benchmarks.serving [--quick] [--only CASE]…`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.measure import Benchmark, leave_at_sigterm, measured
from benchmarks.parts import fresh_checkout
from benchmarks.serving import bulk, forms, images, overload, throughput
from benchmarks.serving.bench import FULL, QUICK, Bench
from benchmarks.serving.environments import WANTED, environment
from benchmarks.serving.wrk import ensure_wrk
from benchmarks.table import Row

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

BENCHMARK = Benchmark(
    directory=Path(__file__).parent, title="The server in figures", cases=tuple(CASES), notes=NOTES
)


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    parser = BENCHMARK.parser()
    parser.add_argument(
        "--cache", type=Path, help="where the environments are kept  [default: the user's cache]"
    )
    parser.add_argument("--runtime", type=Path, help="directory of another runbake_serving, nothing written")
    arguments = parser.parse_args()
    leave_at_sigterm()
    whole = not (arguments.quick or arguments.only or arguments.runtime)
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
            rows = measured(arguments.only or CASES, lambda case: CASES[case](bench))
    return BENCHMARK.tell(rows, arguments, whole=whole, notes=[_versions(bench.cache)] if whole else ())


def _versions(cache: Path) -> str:
    told = []
    for name in WANTED:
        if name in ("runbake", "fasttext", "limit"):
            continue
        found = environment(name, cache).versions
        same = ", ".join(f"{other} {found[other]}" for other in ("numpy", "scikit-learn"))
        told.append(f"{name} {found[name]} ({same})")
    return f"Versions: {'; '.join(told)}."


if __name__ == "__main__":
    sys.exit(main())
