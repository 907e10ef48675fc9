"""A line as long as a file: never held, and named."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.batch.conftest import Batch, Done, manifest
from tests.integration.serving.models_to_serve import CASES

# A gigabyte is written and read twice, which the quick tests have no time for.
pytestmark = pytest.mark.slow

NAMES = list(CASES["named_columns"]().rows.columns)
HEADER = (",".join(NAMES) + "\n").encode()
GOOD = b"1,2,3,4\n"
LONG_BYTES = 1 << 30
DEADLINE_S = 600


def write_long(path: Path, before: bytes, after: bytes) -> None:
    """A file with a line of 1 GiB in it; compressed where its name says so."""
    with path.open("wb") as raw, ExitStack() as stack:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1) if path.suffix == ".gz" else None
        file = stack.enter_context(packed) if packed else raw
        file.write(before)
        for _ in range(LONG_BYTES >> 20):
            file.write(b"1" * (1 << 20))
        file.write(after)


MEASURED = """
import pathlib, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
pathlib.Path(sys.argv[1]).write_text(str(peak))
sys.exit(status)
"""
"""The command as the only child of a small process: Linux gives a child the peak of who started it, here
perhaps 600 MB, and counts the largest child of all, which may be another test's."""


def run_measured(iris: Batch, peak_file: Path, *arguments: str | Path) -> tuple[Done, int]:
    """How the command ended, and the most bytes that it or a child of its had in memory."""
    command = [sys.executable, "-c", MEASURED, str(peak_file), *iris.command(*arguments)]
    process = subprocess.run(
        command, env=dict(iris.environment), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    done = Done(status=process.returncode, stdout=process.stdout, stderr=process.stderr)
    return done, int(peak_file.read_text())


@pytest.mark.parametrize(
    ("name", "before", "after", "line"),
    [
        ("a.csv", HEADER + GOOD, b"\n" + GOOD, 3),
        ("a.csv.gz", HEADER + GOOD, b"\n" + GOOD, 3),
        ("a.jsonl", b"", b"\n", 1),
    ],
)
def test_a_line_of_a_gigabyte_is_rejected(
    iris: Batch, tmp_path: Path, name: str, before: bytes, after: bytes, line: int
) -> None:
    """With its number and why, in less memory than it has; the lines around it are scored."""
    write_long(tmp_path / name, before, after)
    command = ("--input", tmp_path / name, "--output", tmp_path / "out", "--output-format", "csv")

    done, peak = run_measured(iris, tmp_path / "peak", *command, "--max-rejects", "1")
    (tmp_path / name).unlink()

    assert done.status == 73, done.stderr
    told = manifest(tmp_path / "out")
    assert (told["rejected"], told["rows_out"]) == (1, 2 if before else 0)
    (reject,) = (tmp_path / "out" / "_rejects" / "part-00000.jsonl").read_text().splitlines()
    assert (json.loads(reject)["file_row"], json.loads(reject)["reason"]) == (line, "longer than 16 MiB")
    assert peak < LONG_BYTES // 2


def test_a_first_line_of_a_gigabyte_is_no_header(iris: Batch, tmp_path: Path) -> None:
    """csv that has no line end at all ends the job, with the file's name."""
    write_long(tmp_path / "a.csv", b"", b"")

    command = ("--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--output-format", "csv")
    done, peak = run_measured(iris, tmp_path / "peak", *command)
    (tmp_path / "a.csv").unlink()

    assert done.status == 74, done.stderr
    assert "a.csv, line 1" in done.stderr
    assert "longer than 16 MiB" in done.stderr
    assert peak < LONG_BYTES // 2
