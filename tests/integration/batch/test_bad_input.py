"""Whatever is wrong with the input ends in rejected rows, or in an error that names the file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.disks import disk_of, grow
from tests.integration.batch.conftest import Batch, manifest
from tests.integration.serving.models_to_serve import CASES

NAMES = list(CASES["named_columns"]().rows.columns)
FRAME = pd.DataFrame(np.arange(40.0).reshape(10, 4), columns=NAMES)
HEADER = ",".join(NAMES) + "\n"


def truncated_parquet(folder: Path) -> None:
    """One of two files is cut off."""
    FRAME.to_parquet(folder / "a.parquet")
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])


def other_schema(folder: Path) -> None:
    """A column has another type in the second file."""
    FRAME.to_parquet(folder / "a.parquet")
    FRAME.astype({NAMES[0]: str}).to_parquet(folder / "b.parquet")


def missing_column(folder: Path) -> None:
    """A column has a name that is nearly right."""
    FRAME.rename(columns={NAMES[0]: NAMES[0].upper()}).to_parquet(folder / "a.parquet")
    FRAME.rename(columns={NAMES[0]: NAMES[0] + "s"}).to_csv(folder / "b.csv", index=False)


def wrong_dialect(folder: Path) -> None:
    """Semicolons under commas."""
    FRAME.to_csv(folder / "a.csv", index=False, sep=";")


def cut_off_gzip(folder: Path) -> None:
    """A compressed file lacks its end."""
    (folder / "a.csv.gz").write_bytes(gzip.compress(FRAME.to_csv(index=False).encode())[:-30])


def unknown_name(folder: Path) -> None:
    """A file that tells no format."""
    (folder / "readme.txt").write_text("hello")


def empty_parquet(folder: Path) -> None:
    """No bytes at all."""
    (folder / "a.parquet").write_bytes(b"")


FAULTS: dict[Callable[[Path], None], tuple[int, str]] = {
    truncated_parquet: (74, "b.parquet cannot be read as Parquet"),
    other_schema: (74, "as double"),
    missing_column: (74, "lacks the columns"),
    wrong_dialect: (74, "--csv-delimiter ';'"),
    cut_off_gzip: (74, "a.csv.gz is damaged or cut off"),
    unknown_name: (78, "readme.txt tells no format"),
    empty_parquet: (74, "a.parquet cannot be read as Parquet"),
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_bad_file_is_named(iris: Batch, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """The job ends before anything is written, with the file's name."""
    folder = tmp_path / "in"
    folder.mkdir()
    spoil(folder)
    status, words = FAULTS[spoil]

    done = iris.run("--input", folder, "--output", tmp_path / "out", "--output-format", "csv")

    assert done.status == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("part-*"))


def test_bad_rows_are_rejected_one_by_one(iris: Batch, tmp_path: Path) -> None:
    """Ragged, quoted without end, not text, no number, too long: each is told with its line; others count."""
    good = "1,2,3,4\n"
    bad = [
        b"1,2,3\n",
        b"1,2,3,4,5\n",
        b'1,2,3,"4\n',
        b"1,2,\xff\xfe,4\n",
        b"1,2,x,4\n",
        b"1" * (17 << 20) + b"\n",
    ]
    body = HEADER.encode() + b"".join(good.encode() + line for line in bad) + good.encode()
    (tmp_path / "a.csv").write_bytes(body)

    done = iris.run(
        "--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--output-format", "csv",
        "--max-rejects", "50%",
    )  # fmt: skip

    assert done.status == 73, done.stderr
    told = manifest(tmp_path / "out")
    assert (told["rows_in"], told["rows_out"], told["rejected"]) == (13, 7, 6)
    lines = (tmp_path / "out" / "_rejects" / "part-00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["file_row"] for line in lines] == [3, 5, 7, 9, 11, 13]
    assert "xff" not in "".join(lines)


def test_bad_lines_of_json_are_rejected_one_by_one(iris: Batch, tmp_path: Path) -> None:
    """No JSON, a list among objects, a missing key, a number beyond 64 bits as text."""
    good = FRAME.iloc[:1].to_json(orient="records", lines=True)
    lines = [good, "{\n", "[1, 2]\n", "{}\n", good.replace("0.0", '"y"', 1), good]
    (tmp_path / "a.jsonl").write_text("".join(lines))

    done = iris.run(
        "--input", tmp_path / "a.jsonl", "--output", tmp_path / "out", "--output-format", "jsonl",
        "--max-rejects", "4",
    )  # fmt: skip

    assert done.status == 73, done.stderr
    told = manifest(tmp_path / "out")
    assert (told["rows_in"], told["rows_out"], told["rejected"]) == (6, 2, 4)


def test_nothing_in_is_nothing_out(iris: Batch, tmp_path: Path) -> None:
    """An empty csv, one with a header alone and a table without rows make a complete job of no rows."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("")
    (folder / "b.csv").write_text(HEADER)
    FRAME.iloc[:0].to_parquet(folder / "c.parquet")

    done = iris.run("--input", folder, "--output", tmp_path / "out")

    assert done.status == 0, done.stderr
    assert manifest(tmp_path / "out")["rows_in"] == 0


def test_a_full_disk_loses_nothing(iris: Batch, tmp_path: Path) -> None:
    """The job ends with the path and what to do; with more room the same command continues."""
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(20_000, 4)), columns=NAMES)
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=1000)
    arguments = [
        "--input",
        tmp_path / "a.parquet",
        "--output",
        tmp_path / "disk" / "out",
        "--part-rows",
        "1000",
    ]
    arguments += ["--keep", "*", "--batch-rows", "1000"]
    with disk_of(tmp_path / "disk", "300k"):
        full = iris.run(*arguments)
        there = len(list((tmp_path / "disk" / "out").glob("_parts/*.json")))
        grow(tmp_path / "disk", "20m")
        done = iris.run(*arguments)

        assert full.status == 74, full.stderr
        assert "No space left on device" in full.stderr
        assert "make room" in full.stderr
        assert there > 0
        assert f"{there} of 20 parts are there already" in done.stderr
        assert manifest(tmp_path / "disk" / "out")["rows_out"] == 20_000
