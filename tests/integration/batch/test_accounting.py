"""Killed, run twice, changed, divided: every row of the input is in the output once, or the status tells."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.integration.batch.conftest import DEADLINE_S, Batch, files_of, manifest
from tests.integration.serving.models_to_serve import CASES

ROWS = 4000
NAMES = list(CASES["named_columns"]().rows.columns)


def write_rows(path: Path, rows: int = ROWS, *, group: int = 100) -> Path:
    """Rows with an id in row groups of `group`."""
    dice = np.random.default_rng(7)
    frame = pd.DataFrame(dice.uniform(0, 7, size=(rows, 4)), columns=NAMES)
    frame.insert(0, "id", range(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False, row_group_size=group)
    return path


def options(source: Path, output: Path, *more: str) -> list[str | Path]:
    """A job of many small parts."""
    return [
        "--input",
        source,
        "--output",
        output,
        "--keep",
        "id",
        "--part-rows",
        "100",
        "--batch-rows",
        "64",
        *more,
    ]


def ids_in(output: Path) -> list[int]:
    """Ids of all rows of the output, in the order of the parts."""
    paths = sorted(output.glob("part-*.parquet"))
    return [value for path in paths for value in pq.read_table(path).column("id").to_pylist()]


def ended(group: int) -> None:
    """Wait until no process of this group is left."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError(f"processes of group {group} are left")


def kill_after(batch: Batch, parts: int, source: Path, output: Path, *, whole_group: bool) -> None:
    """Start the job, and kill it when so many parts are there (or it has ended)."""
    process = batch.start(*options(source, output))
    deadline_s = time.monotonic() + DEADLINE_S
    while process.poll() is None and len(list(output.glob("_parts/*.json"))) < parts:
        assert time.monotonic() < deadline_s
        time.sleep(0.002)
    if whole_group:
        with suppress(ProcessLookupError):  # it had done its work
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate(timeout=DEADLINE_S)
    if not whole_group:
        ended(process.pid)


def check_killed_job(batch: Batch, tmp_path: Path, *, kills: int, rows: int) -> None:
    """A job that is killed at random is finished by the same command, with the bytes of one never killed."""
    source = write_rows(tmp_path / "rows.parquet", rows)
    assert batch.run(*options(source, tmp_path / "whole")).status == 0
    dice, output = random.Random(3), tmp_path / "killed"  # noqa: S311 - not for secrets
    for _ in range(kills):
        there = len(list(output.glob("_parts/*.json")))
        kill_after(batch, there + dice.randint(0, 4), source, output, whole_group=dice.random() < 0.5)

    done = batch.run(*options(source, output))

    assert done.status == 0, done.stderr
    assert ids_in(output) == list(range(rows))
    assert files_of(output) == files_of(tmp_path / "whole")
    assert not (output / "_tmp").exists()
    told = manifest(output)
    assert (told["rows_in"], told["rows_out"], told["rejected"]) == (rows, rows, 0)


def test_a_killed_job_is_finished_by_the_same_command(iris: Batch, tmp_path: Path) -> None:
    """Three SIGKILLs at random: one row out for each row in, and the bytes of an uninterrupted run."""
    check_killed_job(iris, tmp_path, kills=3, rows=2000)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_hundred_kills_lose_nothing(iris: Batch, tmp_path: Path) -> None:
    """A hundred SIGKILLs at random over 200 parts."""
    check_killed_job(iris, tmp_path, kills=100, rows=20_000)


def test_a_finished_part_is_not_computed_again(iris: Batch, tmp_path: Path) -> None:
    """Records and files of finished parts are left as they are; a damaged file is made again."""
    source, output = write_rows(tmp_path / "rows.parquet", 1000), tmp_path / "out"
    assert iris.run(*options(source, output)).status == 0
    before = {path: path.stat().st_mtime_ns for path in output.rglob("part-*")}
    wanted = (output / "part-00003.parquet").read_bytes()
    (output / "part-00003.parquet").write_bytes(wanted[:-1] + b"?")

    done = iris.run(*options(source, output))

    assert done.status == 0, done.stderr
    assert "9 of 10 parts are there already" in done.stderr
    assert (output / "part-00003.parquet").read_bytes() == wanted
    changed = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed == {"part-00003.parquet"}


def test_two_runners_at_once_make_one_output(iris: Batch, tmp_path: Path) -> None:
    """Both end well, and every row is there once."""
    source, output = write_rows(tmp_path / "rows.parquet", 2000), tmp_path / "out"
    runners = [iris.start(*options(source, output)) for _ in range(2)]
    for runner in runners:
        _, stderr = runner.communicate(timeout=DEADLINE_S)
        assert runner.returncode == 0, stderr.decode()

    assert ids_in(output) == list(range(2000))
    assert iris.run(*options(source, output)).status == 0


def test_sigterm_keeps_what_is_committed(iris: Batch, tmp_path: Path) -> None:
    """The status says that the same command continues, and it does."""
    source, output = write_rows(tmp_path / "rows.parquet", 20_000), tmp_path / "out"
    process = iris.start(*options(source, output))
    while process.poll() is None and not list(output.glob("_parts/*.json")):
        time.sleep(0.002)
    process.terminate()
    _, stderr = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 75, stderr.decode()
    assert b"parts left" in stderr
    assert b"try: the same command continues" in stderr
    assert not (output / "_MANIFEST.json").exists()
    assert iris.run(*options(source, output)).status == 0
    assert ids_in(output) == list(range(20_000))


def test_another_job_under_the_same_output_is_refused(iris: Batch, tmp_path: Path) -> None:
    """Another format, a changed input and an additional file are named; nothing is touched."""
    source, output = write_rows(tmp_path / "in" / "rows.parquet", 300), tmp_path / "out"
    assert iris.run(*options(source.parent, output)).status == 0
    before = files_of(output)

    other = iris.run(*options(source.parent, output, "--output-format", "csv"))
    write_rows(tmp_path / "in" / "more.parquet", 300)
    added = iris.run(*options(source.parent, output))

    assert (other.status, added.status) == (78, 78)
    assert 'output.format was "parquet" and is "csv"' in other.stderr
    assert f"file.{source.parent}/more.parquet was missing and is" in added.stderr
    assert files_of(output) == before


def test_shards_are_summed_up_by_finish(iris: Batch, tmp_path: Path) -> None:
    """Each shard does its parts; `finish` refuses while some are missing, and then writes the manifest."""
    source, output = write_rows(tmp_path / "rows.parquet", 1000), tmp_path / "out"
    assert iris.run(*options(source, output, "--shard", "0/2")).status == 0
    early = iris.run("finish", "--output", output)
    aws = {"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}
    assert iris.run(*options(source, output), **aws).status == 0
    assert not (output / "_MANIFEST.json").exists()

    done = iris.run("finish", "--output", output)

    assert early.status == 75
    assert "5 of 10 parts are missing: part-00001" in early.stderr
    assert done.status == 0, done.stderr
    assert ids_in(output) == list(range(1000))
    assert manifest(output)["rows_out"] == 1000


def test_the_manifest_adds_up(iris: Batch, tmp_path: Path) -> None:
    """Rows in are rows out and rejected, in all and in each part; the files are those of the records."""
    source = tmp_path / "rows.csv"
    write_rows(tmp_path / "rows.parquet", 1000)
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    frame.loc[[5, 500, 501], NAMES[1]] = np.nan
    frame.to_csv(source, index=False)
    arguments = options(source, tmp_path / "out", "--output-format", "csv", "--max-rejects", "0.3%")

    done = iris.run(*arguments)

    assert done.status == 73, done.stderr
    told = manifest(tmp_path / "out")
    assert (told["state"], told["rows_in"], told["rows_out"]) == ("complete_with_rejects", 1000, 997)
    assert told["reasons"] == {f"{NAMES[1]}: the model refuses a value that is missing or not finite": 3}
    assert all(part["rows_in"] == part["rows_out"] + part["rejected"] for part in told["parts"])
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "out" / "_rejects").iterdir())
        for line in path.read_text().splitlines()
    ]
    assert [(line["part"], line["row"], line["file_row"]) for line in lines] == [
        ("part-00000", 5, 7),
        ("part-00005", 0, 502),
        ("part-00005", 1, 503),
    ]
    out = pd.concat(pd.read_csv(path) for path in sorted((tmp_path / "out").glob("part-*.csv")))
    assert out["id"].tolist() == [at for at in range(1000) if at not in (5, 500, 501)]


def test_too_many_rejects_fail_and_may_be_accepted_later(iris: Batch, tmp_path: Path) -> None:
    """The first row beyond the limit is named; what is committed counts when the limit is raised."""
    write_rows(tmp_path / "rows.parquet", 1000)
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    frame.loc[[950, 951], NAMES[0]] = np.inf
    source, output = tmp_path / "gaps.parquet", tmp_path / "out"
    frame.to_parquet(source, index=False, row_group_size=100)

    failed = iris.run(*options(source, output, "--workers", "1"))
    more = iris.run(*options(source, output, "--max-rejects", "2"))

    assert failed.status == 74
    assert f"{source} (part-00009): row 950: {NAMES[0]}: the model refuses" in failed.stderr
    assert "9 of 10 parts are there already" in more.stderr
    assert more.status == 73
    assert manifest(output)["rejected"] == 2
