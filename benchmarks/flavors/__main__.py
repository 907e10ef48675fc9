"""The flavors beside MLflow: `python -m benchmarks.flavors [--quick] [--only FLAVOR]…`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.flavors.figures import Measured, figures
from benchmarks.measure import Benchmark, leave_at_sigterm, measured
from benchmarks.parts import fresh_checkout
from benchmarks.serving import models
from benchmarks.serving.bench import FULL, QUICK, Bench
from benchmarks.serving.wrk import ensure_wrk

FLAVORS: Mapping[str, Measured] = {
    "sklearn": Measured(save=partial(models.save, "float")),
}
"""A line for each flavor."""

NOTES = (
    "runbake is an image of the last commit, run read-only and as its own user by a Docker engine; mlflow is "
    "`mlflow models serve --env-manager local --workers 1` on the same saved model. One after the other.",
    "The image's size is what the engine says, with Debian and Python; mlflow's is its virtual environment "
    "alone, without an interpreter and a system.",
    "Memory is the sum of PSS of all processes after the load; a megabyte is a million bytes.",
)

BENCHMARK = Benchmark(
    directory=Path(__file__).parent, title="The flavors in figures", cases=tuple(FLAVORS), notes=NOTES
)


def main() -> int:
    """Command line; nothing here has a limit."""
    parser = BENCHMARK.parser()
    parser.add_argument(
        "--cache", type=Path, help="where the environments are kept  [default: the user's cache]"
    )
    arguments = parser.parse_args()
    leave_at_sigterm()
    whole = not (arguments.quick or arguments.only)
    with tempfile.TemporaryDirectory(prefix="runbake-benchmark-") as name:
        work = Path(name)
        work.chmod(0o755)
        bench = Bench(
            cache=arguments.cache or user_cache_path("runbake") / "benchmarks",
            work=work,
            runtime=fresh_checkout(work / "checkout") / "serving_template",
            sizes=QUICK if arguments.quick else FULL,
        )
        ensure_wrk(work)
        with bench.ends:
            rows = measured(arguments.only or FLAVORS, lambda case: figures(bench, case, FLAVORS[case]))
    return BENCHMARK.tell(rows, arguments, whole=whole)


if __name__ == "__main__":
    sys.exit(main())
