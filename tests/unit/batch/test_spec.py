"""The job's words: what is read back is what was written, and everything wrong is told at once."""

from __future__ import annotations

import argparse
import json

import pytest

from runbake_serving.batch.arguments import add_options, finish_of, spec_with
from runbake_serving.batch.failures import BadSpec
from runbake_serving.batch.shards import Shard, shard_of
from runbake_serving.batch.spec import (
    Csv,
    JobSpec,
    MaxRejects,
    max_rejects_of,
    size_bytes_of,
    spec_of,
    spec_of_text,
)

FULL = JobSpec(
    inputs=("s3://in/a/", "day=*/x.csv"),
    output="/data/out",
    input_format="csv",
    csv=Csv(delimiter=";", encoding="latin-1", header=True),
    columns=(("age", "years"), ("income", "euros")),
    output_format="jsonl",
    keep=("id",),
    prediction="score",
    params={"level": 0.5},
    batch_rows=100,
    part_rows=1000,
    memory_bytes=1 << 20,
    workers=3,
    max_rejects=MaxRejects(rows=None, share=0.001),
)


@pytest.mark.parametrize("spec", [FULL, JobSpec(inputs=("a",), output="b")])
def test_a_job_reads_back_as_it_was_written(spec: JobSpec) -> None:
    """`spec_of(spec.to_json()) == spec`, also through JSON's text."""
    assert spec_of_text(json.dumps(spec.to_json()), where="job.json") == spec


def test_every_fault_is_told_at_once() -> None:
    """One error names each unknown key with its neighbour, and each value of another kind."""
    document = {
        "schema": "https://runbake.dev/schema/batch-job/v2",
        "input": {
            "uri": ["a"],
            "format": "xml",
            "csv": {"delimiter": "ab", "encoding": "utf-16", "header": 1},
        },
        "output": {"uri": 3, "keep": ["a", "a"]},
        "params": [],
        "batch_rows": 0,
        "part_rows": True,
        "memory": "much",
        "max_rejects": "101%",
        "wokers": 2,
    }

    with pytest.raises(BadSpec) as caught:
        spec_of(document, where="job.json")

    told = str(caught.value)
    wanted = (
        "job.json: ",
        "schema is not",
        "'input.uri' (did you mean 'uris'?)",
        "input.uris names no input",
        "input.format is not one of",
        "input.csv.delimiter",
        "input.csv.encoding",
        "input.csv.header",
        "output.uri",
        "output.keep names something twice",
        "params is not an object",
        "batch_rows is not a whole number above 0",
        "part_rows is not",
        "memory: 'much' is not a size",
        "max_rejects: '101%'",
        "'wokers' (did you mean 'workers'?)",
    )
    assert [word for word in wanted if word not in told] == []


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"input": 5}', "null"])
def test_what_is_no_job_is_refused(text: str) -> None:
    """Neither broken JSON nor another document is taken for a job."""
    with pytest.raises(BadSpec):
        spec_of_text(text, where="x")


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("512MiB", 512 << 20), ("2 GB", 2_000_000_000), ("3k", 3000), ("1T", 10**12)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    """Decimal units and binary ones are told apart."""
    assert size_bytes_of(text) == size


def test_rejects_are_a_count_or_a_share() -> None:
    """A percentage is of all rows, rounded down."""
    assert max_rejects_of("5").allowed(10) == 5
    assert max_rejects_of("0.1%").allowed(1999) == 1
    assert max_rejects_of("0.1%").allowed(999) == 0
    for text in ("", "-1", "1.5", "x%", "%"):
        with pytest.raises(ValueError, match="neither"):
            max_rejects_of(text)


def parsed(*arguments: str) -> argparse.Namespace:
    """The options as the command line reads them."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


def test_options_are_laid_over_the_file() -> None:
    """What is given on the command line wins; the rest is the file's."""
    chosen = parsed(
        "--output", "/other", "--param", "level=0.7", "--param", "name=\"x\"", "--column", "age=a=b",
        "--csv-header", "absent", "--max-rejects", "3", "--csv-delimiter", "tab",
    )  # fmt: skip

    spec = spec_with(chosen, json.dumps(FULL.to_json()).encode())

    assert spec.output == "/other"
    assert spec.inputs == FULL.inputs
    assert spec.params == {"level": 0.7, "name": "x"}
    assert dict(spec.columns) == {"age": "a=b", "income": "euros"}
    assert spec.csv == Csv(delimiter="\t", encoding="latin-1", header=False)
    assert spec.max_rejects == MaxRejects(rows=3)


def test_finish_takes_its_job_from_the_output() -> None:
    """Only the output and the rejects can be given."""
    assert finish_of(parsed("finish", "--output", "o", "--max-rejects", "2")) == ("o", MaxRejects(rows=2))
    with pytest.raises(BadSpec):
        finish_of(parsed("finish", "--output", "o", "--input", "i"))


def test_a_shard_is_given_or_an_array_jobs() -> None:
    """AWS Batch's variables count where `--shard` says nothing."""
    aws = {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "5"}
    assert shard_of(None, aws) == Shard(index=2, count=5)
    assert shard_of("0/3", aws) == Shard(index=0, count=3)
    assert shard_of(None, {}) is None
    for text in ("3/3", "1", "-1/2", "0/0", "a/b"):
        with pytest.raises(BadSpec):
            shard_of(text, {})
    with pytest.raises(BadSpec, match="without"):
        shard_of(None, {"AWS_BATCH_JOB_ARRAY_INDEX": "2"})
