"""The scikit-learn pipeline: one core and two beside the bare loop, memory, and csv beside MLflow."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.batch import rows
from benchmarks.batch.bench import CORES, Bench, batch_rows, column
from benchmarks.commands import CommandFailed, timed
from benchmarks.table import Row, megabytes

_MODEL_FILE = "model.pkl"
_PEAK_BYTES = 800e6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    ours_s: float
    loop_s: float

    def ours(self, count: int) -> str:
        return f"{count / self.ours_s:,.0f} rows/s"

    def loop(self, count: int) -> str:
        return f"bare loop: {count / self.loop_s:,.0f} rows/s"


def cores(bench: Bench) -> list[Row]:
    """Rows a second on one core, and what a second core adds, each beside the loop with the same batches."""
    one, two = _beside_the_loop(bench, CORES[-1:]), _beside_the_loop(bench, CORES[:2])
    count = bench.sizes.files * bench.sizes.file_rows
    share = one.loop_s / one.ours_s
    scaling, loops = one.ours_s / two.ours_s, one.loop_s / two.loop_s
    return [
        Row(
            what=f"{count:,} rows of 30 floats, Parquet, one core",
            ours=one.ours(count),
            peer=one.loop(count),
            found=f"{share:.0%} of the loop",
            limit="70 %",
            reached=share >= 0.7,
        ),
        Row(
            what="the same on two cores: what the second adds",
            ours=f"{two.ours(count)}, {scaling:.2f}x",
            peer=f"{two.loop(count)}, {loops:.2f}x",
            found=f"{scaling / loops:.0%} of the loop's scaling",
            limit="90 %",
            reached=scaling >= 0.9 * loops,
        ),
    ]


def _beside_the_loop(bench: Bench, used: list[int]) -> _Times:
    ours, loop = [], []
    model = bench.floats.path
    for _ in range(bench.sizes.repeats):
        output, bare = bench.new("job"), bench.new("loop")
        bare.mkdir()
        ours.append(bench.ours(model, bench.files, output, cores=used).seconds)
        arguments = (model / _MODEL_FILE, bare, str(batch_rows(output)), str(len(used)), *bench.files)
        loop.append(bench.loop("floats", *arguments, cores=used).seconds)
        print(f"{len(used)} cores: ours {ours[-1]:.1f} s, loop {loop[-1]:.1f} s", file=sys.stderr)
        _check_same(output, bare)
        shutil.rmtree(output)
        shutil.rmtree(bare)
    return _Times(ours_s=median(ours), loop_s=median(loop))


def _check_same(output: Path, bare: Path) -> None:
    if column(output, "prediction") != column(bare, "prediction"):
        raise CommandFailed("the job and the loop predict differently")


def memory(bench: Bench) -> list[Row]:
    """The peak of a short job and of a long one, on two cores."""
    few, many = _peak(bench, bench.files[:1]), _peak(bench, bench.files)
    growth = many / few
    return [
        Row(
            what=f"peak memory on two cores, {bench.sizes.file_rows * len(bench.files):,} rows",
            ours=megabytes(many),
            peer="",
            found=megabytes(many),
            limit="800 MB",
            reached=many <= _PEAK_BYTES,
        ),
        Row(
            what=f"the same beside {bench.sizes.file_rows:,} rows",
            ours=megabytes(many),
            peer=f"short: {megabytes(few)}",
            found=f"{growth:.2f}x",
            limit="0.85x to 1.15x",
            reached=0.85 <= growth <= 1.15,
        ),
    ]


def _peak(bench: Bench, files: list[Path]) -> int:
    output = bench.new("memory")
    done = bench.ours(bench.floats.path, files, output, cores=CORES[:2], sample_pss=True)
    shutil.rmtree(output)
    return done.tree_pss_bytes


def csv(bench: Bench) -> list[Row]:
    """A csv, beside `mlflow models predict`; both as they come, with all cores."""
    file = rows.csv_file(bench.work / "rows.csv", bench.table)
    output, theirs = bench.new("csv"), bench.work / "mlflow.json"
    ours = bench.ours(bench.floats.path, [file], output, "--output-format", "csv", cores=CORES).seconds
    mlflow = timed(
        [
            *(bench.python("mlflow"), "-m", "mlflow", "models", "predict", "--env-manager", "local"),
            *("-m", bench.floats.path, "-i", file, "-t", "csv", "-o", theirs),
        ]
    ).seconds
    file.unlink()
    count = bench.sizes.file_rows
    return [
        Row(
            what=f"{count:,} rows of csv, start-up included",
            ours=f"{count / ours:,.0f} rows/s",
            peer=f"mlflow models predict: {count / mlflow:,.0f} rows/s",
            found=f"{mlflow / ours:.1f}x",
            limit="20x",
            reached=mlflow >= 20 * ours,
        )
    ]
