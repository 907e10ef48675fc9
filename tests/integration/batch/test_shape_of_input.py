"""What an input's shape does to a job: names, types, folders, and outputs that lie beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.batch.conftest import Batch, manifest
from tests.integration.serving.models_to_serve import CASES

NAMES = list(CASES["named_columns"]().rows.columns)
FRAME = pd.DataFrame(np.arange(40.0).reshape(10, 4), columns=NAMES)
BOM = b"\xef\xbb\xbf"


def lines_of(frame: pd.DataFrame) -> bytes:
    """The rows as JSON Lines."""
    return frame.to_json(orient="records", lines=True).encode()


def test_an_output_below_its_input_is_no_input(iris: Batch, tmp_path: Path) -> None:
    """A job stopped half way continues, and what it wrote is not scored; input and output cannot be one."""
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_csv(tmp_path / "b.csv", index=False)
    job = ("--input", tmp_path, "--output", tmp_path / "scores", "--output-format", "csv")

    assert iris.run(*job, "--shard", "0/2").status == 0
    second = iris.run(*job)
    assert second.status == 0, second.stderr
    assert manifest(tmp_path / "scores")["rows_in"] == 20
    same = iris.run("--input", tmp_path, "--output", f"{tmp_path}/.", "--output-format", "csv")
    assert (same.status, "lies in the output" in same.stderr) == (78, True), same.stderr


def test_another_image_cannot_finish(iris: Batch, batch_of: Callable[[str], Batch], tmp_path: Path) -> None:
    """The manifest would tell its run as the origin of rows that it never saw."""
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    output = tmp_path / "scores"
    job = ("--input", tmp_path / "a.csv", "--output", output, "--output-format", "csv")
    assert iris.run(*job, "--shard", "0/1").status == 0

    other = batch_of("probabilities").run("finish", "--output", output)
    assert (other.status, "model was" in other.stderr) == (78, True), other.stderr
    assert not (output / "_MANIFEST.json").exists()
    assert iris.run("finish", "--output", output).status == 0


def test_a_shard_with_rejected_rows_ends_well(iris: Batch, tmp_path: Path) -> None:
    """Only the whole job tells whether they are too many, and any other status would be a failure."""
    FRAME.replace(4.0, np.nan).to_csv(tmp_path / "a.csv", index=False)
    output = tmp_path / "scores"
    job = ("--input", tmp_path / "a.csv", "--output", output, "--output-format", "csv")

    shard = iris.run(*job, "--max-rejects", "20%", "--shard", "0/1")
    assert shard.status == 0, shard.stderr
    assert iris.run("finish", "--output", output).status == 73


def test_kept_decimals_and_durations_are_text(iris: Batch, tmp_path: Path) -> None:
    """In csv and JSON Lines, which have no such types."""
    table = pa.Table.from_pandas(FRAME)
    amounts = pa.array([Decimal("1.10")] * 10, pa.decimal128(9, 2))
    table = table.append_column("amount", amounts)
    table = table.append_column("took", pa.array([90_000_000] * 10, pa.duration("us")))
    pq.write_table(table, tmp_path / "a.parquet")
    job = ("--input", tmp_path / "a.parquet", "--keep", "amount", "--keep", "took")

    done = iris.run(*job, "--output", tmp_path / "out", "--output-format", "jsonl")
    assert done.status == 0, done.stderr
    first = json.loads((tmp_path / "out" / "part-00000.jsonl").read_text().splitlines()[0])
    assert (first["amount"], first["took"]) == ("1.10", "P0DT0H1M30S")


def test_columns_of_a_csv_without_a_header_cannot_be_named(iris: Batch, tmp_path: Path) -> None:
    """Before anything is written."""
    FRAME.to_csv(tmp_path / "a.csv", index=False, header=False)
    job = ("--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--output-format", "csv")

    done = iris.run(*job, "--csv-header", "absent", "--keep", "id")
    assert (done.status, "has no header, and so no column 'id'" in done.stderr) == (74, True), done.stderr
    assert not (tmp_path / "out" / "_PLAN.json").exists()


def test_lines_of_json_with_a_mark_are_kept(iris: Batch, tmp_path: Path) -> None:
    """A byte order mark belongs to no value; `*` cannot be kept of lines that may each have other names."""
    (tmp_path / "a.jsonl").write_bytes(BOM + lines_of(FRAME.assign(id=range(10))))
    job = ("--input", tmp_path / "a.jsonl", "--output-format", "csv")

    done = iris.run(*job, "--output", tmp_path / "out", "--keep", "id")
    assert done.status == 0, done.stderr
    assert pd.read_csv(tmp_path / "out" / "part-00000.csv")["id"].tolist() == list(range(10))
    refused = iris.run(*job, "--output", tmp_path / "other", "--keep", "*")
    assert (refused.status, "name the columns to keep" in refused.stderr) == (78, True), refused.stderr


def test_files_of_two_schemas_are_no_table(iris: Batch, tmp_path: Path) -> None:
    """Readers of a directory take the first file's types: the job does not end as if all were well."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines_of(FRAME.assign(score=None)))
    (tmp_path / "in" / "b.jsonl").write_bytes(lines_of(FRAME.assign(score=5)))
    job = ("--input", tmp_path / "in", "--keep", "score")

    done = iris.run(*job, "--output", tmp_path / "parquet")
    assert done.status == 74, done.stderr
    assert "the column 'score' is string in part-00000, and int64 in part-00001" in done.stderr
    assert iris.run(*job, "--output", tmp_path / "lines", "--output-format", "jsonl").status == 0


def test_rows_of_gaps_between_tabs_are_rows(iris: Batch, tmp_path: Path) -> None:
    """Each is accounted for, and takes no other with it."""
    frame = FRAME.astype(object)
    frame.loc[[3, 9]] = None
    frame.to_csv(tmp_path / "a.csv", index=False, sep="\t")
    job = ("--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--output-format", "csv")

    done = iris.run(*job, "--csv-delimiter", "\t", "--max-rejects", "2", "--batch-rows", "2")
    assert done.status == 73, done.stderr
    told = manifest(tmp_path / "out")
    assert (told["rows_in"], told["rows_out"], told["rejected"]) == (10, 8, 2)


def test_a_folders_value_is_as_it_was_before_its_name(
    batch_of: Callable[[str], Batch], tmp_path: Path
) -> None:
    """Hive quotes what a path may not hold, and has a name for no value."""
    for name in ("at=10%3A00", "at=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "in" / name).mkdir(parents=True)
        FRAME.to_csv(tmp_path / "in" / name / "a.csv", index=False)
    job = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--output-format", "jsonl")

    done = batch_of("named_columns").run(*job, "--keep", "at")
    assert done.status == 0, done.stderr
    kept = [
        json.loads(path.read_text().splitlines()[0])["at"]
        for path in sorted((tmp_path / "out").glob("*.jsonl"))
    ]
    assert kept == ["10:00", None]


@pytest.mark.parametrize("spoiled", ["MLmodel", "model.skops"])
def test_a_model_that_cannot_be_used_is_no_retry(iris: Batch, tmp_path: Path, spoiled: str) -> None:
    """74: something must be changed first."""
    broken = tmp_path / "model"
    broken.mkdir()
    for file in iris.model.iterdir():
        if file.is_file():
            (broken / file.name).write_bytes(b"spoiled" if file.name == spoiled else file.read_bytes())
    FRAME.to_csv(tmp_path / "a.csv", index=False)

    done = iris.run(
        "--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--output-format", "csv",
        RUNBAKE_MODEL=str(broken),
    )  # fmt: skip
    assert done.status == 74, done.stderr
    absent = iris.run("--spec", tmp_path / "absent.json", "--output", tmp_path / "out")
    assert absent.status == 78, absent.stderr


def test_packed_files_and_arrow_are_read(iris: Batch, tmp_path: Path) -> None:
    """gzip and zstd of text, and Arrow files, in one job; each row once."""
    (tmp_path / "in").mkdir()
    text, lines = FRAME.to_csv(index=False).encode(), lines_of(FRAME)
    for name, body in (("a.csv", text), ("b.jsonl", lines)):
        (tmp_path / "in" / f"{name}.gz").write_bytes(gzip.compress(body))
        (tmp_path / "in" / f"{name}.zst").write_bytes(pa.Codec("zstd").compress(body, asbytes=True))
    with pa.OSFile(str(tmp_path / "in" / "c.arrow"), "wb") as file:
        table = pa.Table.from_pandas(FRAME)
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    done = iris.run("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert done.status == 0, done.stderr
    parts = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert len(parts) == 5
    assert all(part == parts[0] for part in parts)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_whole_numbers_beyond_64_bits_are_rejected(
    batch_of: Callable[[str], Batch], tmp_path: Path, kind: str
) -> None:
    """They would be other numbers: the row is told, and all others are answered."""
    names = list(CASES["long_columns"]().rows.columns)
    frame = pd.DataFrame({name: [1, 2**70, 3] for name in names}, dtype=object)
    body = (
        frame.to_csv(index=False)
        if kind == "csv"
        else "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))
    )
    (tmp_path / f"a.{kind}").write_text(body)
    job = ("--input", tmp_path / f"a.{kind}", "--output", tmp_path / "out", "--output-format", "csv")

    done = batch_of("long_columns").run(*job, "--max-rejects", "1")
    assert done.status == 73, done.stderr
    told = json.loads((tmp_path / "out" / "_rejects" / "part-00000.jsonl").read_text())
    assert told["file_row"] == (3 if kind == "csv" else 2)
    assert str(2**70) not in json.dumps(told)


def test_an_output_that_cannot_be_written_is_named(iris: Batch, tmp_path: Path) -> None:
    """Before anything is computed."""
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "file").write_text("not a directory")
    job = ("--input", tmp_path / "a.csv", "--output-format", "csv")

    for output in (tmp_path / "file", tmp_path / "file" / "out", "/proc/out"):
        done = iris.run(*job, "--output", output)
        assert (done.status, str(output) in done.stderr) == (74, True), done.stderr
        assert "Traceback" not in done.stderr
