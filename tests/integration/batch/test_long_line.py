"""A line as long as a file: never held, and named."""

from __future__ import annotations

import gzip
import json
import resource
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.batch.conftest import Batch, manifest
from tests.integration.serving.models_to_serve import CASES

# A gigabyte is written and read twice, which the quick tests have no time for.
pytestmark = pytest.mark.slow

NAMES = list(CASES["named_columns"]().rows.columns)
HEADER = (",".join(NAMES) + "\n").encode()
GOOD = b"1,2,3,4\n"
LONG_BYTES = 1 << 30


def write_long(path: Path, before: bytes, after: bytes) -> None:
    """A file with a line of 1 GiB in it; compressed where its name says so."""
    with path.open("wb") as raw, ExitStack() as stack:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1) if path.suffix == ".gz" else None
        file = stack.enter_context(packed) if packed else raw
        file.write(before)
        for _ in range(LONG_BYTES >> 20):
            file.write(b"1" * (1 << 20))
        file.write(after)


def peak_bytes(command: Callable[[], object]) -> int:
    """What children took at most by the end of a command: the largest so far, it never falls."""
    command()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


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

    done = []
    peak = peak_bytes(lambda: done.append(iris.run(*command, "--max-rejects", "1")))
    (tmp_path / name).unlink()

    assert done[0].status == 73, done[0].stderr
    told = manifest(tmp_path / "out")
    assert (told["rejected"], told["rows_out"]) == (1, 2 if before else 0)
    (reject,) = (tmp_path / "out" / "_rejects" / "part-00000.jsonl").read_text().splitlines()
    assert (json.loads(reject)["file_row"], json.loads(reject)["reason"]) == (line, "longer than 16 MiB")
    assert peak < LONG_BYTES // 2


def test_a_first_line_of_a_gigabyte_is_no_header(iris: Batch, tmp_path: Path) -> None:
    """csv that has no line end at all ends the job, with the file's name."""
    write_long(tmp_path / "a.csv", b"", b"")

    done = iris.run("--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--output-format", "csv")
    (tmp_path / "a.csv").unlink()

    assert done.status == 74, done.stderr
    assert "a.csv, line 1" in done.stderr
    assert "longer than 16 MiB" in done.stderr
