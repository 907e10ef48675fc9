"""S3 by moto's server: it shows that calls are well-formed and the protocol holds, not that AWS agrees."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from tests.integration.batch.conftest import Batch
from tests.integration.serving.models_to_serve import CASES

NAMES = list(CASES["named_columns"]().rows.columns)
FRAME = pd.DataFrame(np.arange(800.0).reshape(200, 4) % 7, columns=NAMES)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of moto's server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Any:
    """A client with an input of two days, in a bucket of its own."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="id",
        aws_secret_access_key="key",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="input")
    client.create_bucket(Bucket="output")
    body = io.BytesIO()
    FRAME.to_parquet(body, row_group_size=50)
    client.put_object(Bucket="input", Key="day=1/a.parquet", Body=body.getvalue())
    client.put_object(Bucket="input", Key="day=2/a.parquet", Body=body.getvalue())
    client.put_object(Bucket="input", Key="text/a.csv", Body=FRAME.to_csv(index=False).encode())
    return client


def test_a_job_from_bucket_to_bucket(iris: Batch, endpoint: str, s3: Any) -> None:
    """Ranges are read, parts uploaded once; again it finds them, and a lost part is made anew."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}
    arguments = ["--input", "s3://input/day=*/", "--output", "s3://output/scores/", "--part-rows", "50"]

    done = iris.run(*arguments, **environment)
    first = s3.get_object(Bucket="output", Key="scores/part-00003.parquet")["Body"].read()
    s3.delete_object(Bucket="output", Key="scores/part-00003.parquet")
    again = iris.run(*arguments, **environment)

    assert done.status == 0, done.stderr
    assert done.stdout == "s3://output/scores/_MANIFEST.json\n"
    assert again.status == 0, again.stderr
    assert "7 of 8 parts are there already" in again.stderr
    assert s3.get_object(Bucket="output", Key="scores/part-00003.parquet")["Body"].read() == first
    told = json.loads(s3.get_object(Bucket="output", Key="scores/_MANIFEST.json")["Body"].read())
    assert (told["rows_in"], told["rows_out"]) == (400, 400)
    head = s3.head_object(Bucket="output", Key="scores/part-00003.parquet")
    assert head["Metadata"]["runbake-sha256"] == told["parts"][3]["data"]["sha256"]


def test_text_from_a_bucket(iris: Batch, endpoint: str, s3: Any, tmp_path: Any) -> None:
    """csv is read in ranges, and written to this machine."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}

    done = iris.run(
        "--input",
        "s3://input/text/a.csv",
        "--output",
        tmp_path / "out",
        "--output-format",
        "csv",
        **environment,
    )

    assert done.status == 0, done.stderr
    assert len((tmp_path / "out" / "part-00000.csv").read_text().splitlines()) == 201


@pytest.mark.parametrize(
    ("source", "output", "status", "words"),
    [
        ("s3://absent/x/", "s3://output/a/", 74, "NoSuchBucket"),
        ("s3://input/day=1/", "s3://absent/a/", 74, "create the bucket"),
        ("s3://input/nothing/", "s3://output/a/", 74, "there is no input"),
    ],
)
def test_what_is_not_there_is_named(
    iris: Batch, endpoint: str, s3: Any, source: str, output: str, status: int, words: str
) -> None:
    """A missing bucket or prefix ends the job with its name."""
    done = iris.run("--input", source, "--output", output, **CREDENTIALS, AWS_ENDPOINT_URL=endpoint)

    assert done.status == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
