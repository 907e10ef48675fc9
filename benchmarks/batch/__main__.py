"""Offline batch beside its peers: `python -m benchmarks.batch [--quick] [--only CASE]…`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.batch import floats
from benchmarks.batch.bench import FULL, QUICK, Bench
from benchmarks.batch.resume import resume
from benchmarks.batch.start import start
from benchmarks.batch.texts import texts
from benchmarks.measure import Benchmark, leave_at_sigterm, measured
from benchmarks.parts import fresh_checkout
from benchmarks.serving import bench as serving
from benchmarks.table import Row

CASES: dict[str, Callable[[Bench], list[Row]]] = {
    "cores": floats.cores,
    "memory": floats.memory,
    "csv": floats.csv,
    "texts": texts,
    "resume": resume,
    "start": start,
}

NOTES = (
    "Times are of whole processes, start-up and the looking for the batch size included; medians. The input "
    "is ten names of one file of 2 million rows.",
    "The bare loop (benchmarks/batch/loops) reads with pyarrow, predicts with the estimator and writes with "
    "pyarrow, in the batches that runbake chose; two cores are two processes, which take files. It checks "
    "nothing and accounts for nothing. Its predictions are compared with runbake's, row by row.",
    "runbake is the last commit in a fresh checkout with its locked wheels, in the same environment as the "
    "loop; for the start it is an image that `runbake containerize` made.",
    "Memory is the sum of PSS of all processes, from the kernel, ten times a second.",
    "After a kill, work is the processor time of both halves; a part that was not whole is computed again, "
    "and starting twice is in it.",
)

BENCHMARK = Benchmark(
    directory=Path(__file__).parent, title="Offline batch in figures", cases=tuple(CASES), notes=NOTES
)


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    parser = BENCHMARK.parser()
    parser.add_argument(
        "--cache", type=Path, help="where the environments are kept  [default: the user's cache]"
    )
    arguments = parser.parse_args()
    leave_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="runbake-benchmark-") as name:
        work = Path(name)
        work.chmod(0o755)
        base = serving.Bench(
            cache=arguments.cache or user_cache_path("runbake") / "benchmarks",
            work=work,
            runtime=fresh_checkout(work / "checkout") / "serving_template",
            sizes=serving.QUICK if arguments.quick else serving.FULL,
        )
        bench = Bench(serving=base, sizes=QUICK if arguments.quick else FULL)
        with base.ends:
            rows = measured(arguments.only or CASES, lambda case: CASES[case](bench))
    return BENCHMARK.tell(rows, arguments, whole=not (arguments.quick or arguments.only))


if __name__ == "__main__":
    sys.exit(main())
