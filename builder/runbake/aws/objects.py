"""Objects of Amazon S3."""

from __future__ import annotations

from collections.abc import Iterator

from runbake.aws.clients import client_of
from runbake.aws.refusals import refusals


def read_object(uri: str, region: str, *, most_bytes: int) -> bytes | None:
    """The last `most_bytes` of the object at `s3://BUCKET/KEY`; None where there is none.

    Raises:
        AwsError: AWS refuses, or there is no such bucket.
    """
    from botocore.exceptions import ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with refusals(uri):
        client = client_of("s3", region)
        try:
            size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
            if not size:
                return b""
            answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={max(0, size - most_bytes)}-")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise
        return bytes(answer["Body"].read())


def chunks_of_object(uri: str, region: str) -> Iterator[bytes]:
    """The bytes of the object at `s3://BUCKET/KEY`, a MiB at a time.

    Raises:
        AwsError: AWS refuses, or there is no such object.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with refusals(uri):
        yield from client_of("s3", region).get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20)
