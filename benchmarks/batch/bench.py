"""What every figure uses: the inputs, the measured runtime, a job and the peers' loops."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.batch import rows
from benchmarks.commands import Done, timed
from benchmarks.serving.bench import Bench as ServingBench
from benchmarks.serving.environments import environment
from benchmarks.serving.models import Saved

_LOOPS = Path(__file__).parent / "loops"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured; the limits hold for `FULL` only."""

    repeats: int
    files: int
    file_rows: int
    text_rows: int
    starts: int


FULL = Sizes(repeats=3, files=10, file_rows=2_000_000, text_rows=2_000_000, starts=7)
QUICK = Sizes(repeats=1, files=2, file_rows=100_000, text_rows=20_000, starts=2)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """`serving` brings models, images and the directories; `sizes` are this benchmark's own."""

    serving: ServingBench
    sizes: Sizes

    @property
    def work(self) -> Path:
        """A directory that is removed at the end."""
        return self.serving.work

    @cached_property
    def floats(self) -> Saved:
        """The scikit-learn pipeline with 30 float columns."""
        return self.serving.saved("float")

    @cached_property
    def table(self) -> Any:
        """The rows of one file."""
        return rows.float_table(list(self.floats.rows.columns), self.sizes.file_rows)

    @cached_property
    def files(self) -> list[Path]:
        """All of the input."""
        return rows.parquet_files(self.work / "rows", self.table, self.sizes.files)

    def python(self, name: str) -> Path:
        """The interpreter of an environment."""
        return environment(name, self.serving.cache).python

    def new(self, name: str) -> Path:
        """A directory that is not there yet."""
        taken = len(list(self.work.glob(f"{name}-*")))
        return self.work / f"{name}-{taken}"

    def job(self, inputs: Sequence[Path], output: Path, *options: str) -> list[str]:
        """The arguments of a job of ours."""
        named = [word for one in inputs for word in ("--input", str(one))]
        return ["-m", "runbake_serving", "batch", *named, "--output", str(output), *options]

    def job_environment(self, model: Path) -> Mapping[str, str]:
        """What the image sets, for a model beside it."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.serving.runtime),
            "RUNBAKE_MODEL": str(model),
            "RUNBAKE_PROVENANCE": str(model / "no-provenance.json"),
        }

    def ours(
        self,
        model: Path,
        inputs: Sequence[Path],
        output: Path,
        *options: str,
        cores: Sequence[int],
        python: str = "runbake",
        sample_pss: bool = False,
    ) -> Done:
        """A whole job on these cores, from the start of the process to its end."""
        return timed(
            [
                *pinned(cores),
                self.python(python),
                *self.job(inputs, output, "--workers", str(len(cores)), *options),
            ],
            environment=self.job_environment(model),
            sample_pss=sample_pss,
        )

    def loop(self, name: str, *arguments: str | Path, cores: Sequence[int], python: str = "runbake") -> Done:
        """A bare loop on these cores, from the start of the process to its end."""
        return timed(
            [*pinned(cores), self.python(python), _LOOPS / f"{name}.py", *arguments],
            environment={**os.environ, **_ONE_THREAD},
        )


def pinned(cores: Sequence[int]) -> list[str]:
    """The prefix that keeps a command on these cores."""
    return ["taskset", "-c", ",".join(map(str, cores))]


def batch_rows(output: Path) -> int:
    """Rows of one prediction, as the job found out: the loop gets the same."""
    return int(json.loads((output / "_PLAN.json").read_bytes())["batch_rows"])


def column(directory: Path, name: str) -> list[Any]:
    """One column of all Parquet files of a directory, in their order."""
    found: list[Any] = []
    for file in sorted(directory.glob("*.parquet")):
        found += pq.ParquetFile(file).read([name]).column(name).to_pylist()
    return found


def digests(output: Path) -> dict[str, str]:
    """The sha256 of every part, by name."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(output.glob("part-*"))
    }
