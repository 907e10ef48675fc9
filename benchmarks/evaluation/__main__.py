"""An evaluation with baseline and churn in figures: `python -m benchmarks.evaluation [--quick]`."""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from platformdirs import user_cache_path
from sklearn.tree import DecisionTreeClassifier

from benchmarks.commands import CommandFailed, Done, timed
from benchmarks.measure import Benchmark, leave_at_sigterm, measured
from benchmarks.serving.bench import FULL, QUICK, Bench
from benchmarks.serving.containers import image
from benchmarks.serving.models import Saved, requirements
from benchmarks.table import Row, megabytes

_MAIN = "from runbake.cli import main; main()"
_BARE = Path(__file__).with_name("bare.py")
_TARGET = "target"
_WRONG = 0.05
_MOST_TIMES = 3.0
_MOST_BYTES = 1e9
_SAME_WITHIN = 1e-9

NOTES = (
    "runbake is `evaluate --baseline IMAGE` of the last commit, from the start of the process to its end, "
    "with its page: two containers that read and answer the file, 500 bootstrap replicates, paired "
    "differences, churn.",
    "The bare script (benchmarks/evaluation/bare.py) reads the file, asks both estimators and computes "
    "metrics of scikit-learn once, in one process. Its accuracies are compared with runbake's.",
    "The models are a logistic regression behind a scaler and a decision tree of depth 6. Medians; both in "
    "turns. Images are built before, and pulled.",
    "Memory is the largest sum of RSS of runbake's own processes; that of the containers is the batch job's "
    "(benchmarks/batch).",
)

BENCHMARK = Benchmark(
    directory=Path(__file__).parent, title="Evaluation in figures", cases=("delta",), notes=NOTES
)


def delta(bench: Bench, *, rows: int, repeats: int) -> list[Row]:
    """Candidate and baseline on the same rows, beside the bare calls."""
    data = _rows_file(bench.work / "rows.parquet", rows)
    saved = (bench.saved("float"), _tree(bench.work / "models" / "tree", bench.saved("float")))
    images = [
        image(bench, f"evaluation-{name}", one, "--with", "arrow")
        for name, one in zip("ab", saved, strict=True)
    ]
    ours, bare = [], []
    for _ in range(repeats):
        ours.append(_ours(bench, images, data))
        bare.append(timed([sys.executable, _BARE, data, _TARGET, *(one.path for one in saved)]))
    told = [json.loads(one.stdout.splitlines()[-1]) for one in bare]
    _check_same(bench.work / "evaluation.json", told[0]["accuracies"])
    seconds, asked = median(one.seconds for one in ours), median(one["asked"] for one in told)
    whole = median(one.seconds for one in bare)
    peak, page = max(one.tree_rss_bytes for one in ours), (bench.work / "page.html").stat().st_size
    what = f"{rows:,} rows of 30 floats, Parquet, with a baseline"
    return [
        _row(what, f"{seconds:.1f} s", f"reading and two `predict`: {asked:.1f} s", seconds / asked),
        Row(
            what="the same beside the whole script",
            ours=f"{seconds:.1f} s",
            peer=f"bare script: {whole:.1f} s",
            found=f"{seconds / whole:.2f}x",
            limit="",
            reached=None,
        ),
        Row(
            what="peak memory",
            ours=megabytes(peak),
            peer="",
            found=megabytes(peak),
            limit=megabytes(_MOST_BYTES),
            reached=peak <= _MOST_BYTES,
        ),
        Row(
            what="the page",
            ours=megabytes(page),
            peer="",
            found=megabytes(page),
            limit="2.0 MB",
            reached=page <= 2e6,
        ),
    ]


def _row(what: str, ours: str, peer: str, times: float) -> Row:
    found, limit = f"{times:.2f}x", f"{_MOST_TIMES:.0f}x"
    return Row(what=what, ours=ours, peer=peer, found=found, limit=limit, reached=times <= _MOST_TIMES)


def _rows_file(path: Path, count: int) -> Path:
    """Random rows whose class a model cannot always know."""
    random = np.random.default_rng(7)
    columns = {f"column_{position}": random.normal(size=count) for position in range(30)}
    truth = columns["column_0"] + columns["column_1"] > 0
    target = (truth ^ (random.random(count) < _WRONG)).astype(np.int64)
    pq.write_table(pa.table({**columns, _TARGET: target}), path, row_group_size=250_000)
    return path


def _tree(path: Path, like: Saved) -> Saved:
    """A model of another kind for the same rows."""
    target = (like.rows["column_0"] + like.rows["column_1"] > 0).astype(int)
    model = DecisionTreeClassifier(max_depth=6, random_state=1).fit(like.rows, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            path,
            serialization_format="cloudpickle",
            input_example=like.rows.head(2),
            pip_requirements=requirements(),
        )
    return Saved(path=path, model=model, rows=like.rows)


def _ours(bench: Bench, images: Sequence[str], data: Path) -> Done:
    candidate, baseline = images
    return timed(
        [
            *(sys.executable, "-c", _MAIN, "evaluate", candidate, "--baseline", baseline),
            *("--data", data, "--target", _TARGET, "--html", "page.html"),
            *("--cache", bench.parts.work / "cache"),
        ],
        environment=bench.parts.environment,
        cwd=bench.work,
        sample_memory=True,
    )


def _check_same(report: Path, accuracies: Sequence[float]) -> None:
    """A time for other answers would mean nothing."""
    (found,) = [one for one in json.loads(report.read_bytes())["metrics"] if one["name"] == "accuracy"]
    ours = [found["candidate"]["value"], found["baseline"]["value"]]
    if any(abs(one - other) > _SAME_WITHIN for one, other in zip(ours, accuracies, strict=True)):
        raise CommandFailed(f"the accuracies are {ours}, and bare {accuracies}")


def main() -> int:
    """Command line; 1 when a limit of a full measurement is not reached."""
    arguments = BENCHMARK.parser().parse_args()
    leave_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="runbake-benchmark-") as name:
        work = Path(name)
        work.chmod(0o755)
        bench = Bench(
            cache=user_cache_path("runbake") / "benchmarks",
            work=work,
            runtime=work,  # the images have their own
            sizes=QUICK if arguments.quick else FULL,
        )
        rows, repeats = (20_000, 1) if arguments.quick else (1_000_000, 3)
        with bench.ends:
            found = measured(["delta"], lambda _: delta(bench, rows=rows, repeats=repeats))
    return BENCHMARK.tell(found, arguments, whole=not (arguments.quick or arguments.only))


if __name__ == "__main__":
    sys.exit(main())
