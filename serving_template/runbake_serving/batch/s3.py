"""S3: the only module that imports boto3.

Not pyarrow's file system: it has no conditional write (apache/arrow#44281), tells no ETag to hold a file to,
and must not be used before a fork. Clients are made by the process that uses them.

Every name is uploaded in one request with `If-None-Match: *` and its sha256, which S3 checks.

Source: Amazon S3, "Conditional writes"; "Checking object integrity".
"""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from runbake_serving.batch.failures import BatchFailure, Incomplete
from runbake_serving.batch.storage import S3, Found, fixed_prefix, is_hidden, is_wild, pattern_of

_SHA256: Final = "runbake-sha256"
_READ_BYTES: Final = 4 << 20
_READ_ATTEMPTS: Final = 3
"""botocore asks again for what was refused, and not for a body that broke off."""
_MOST_BYTES: Final = 5 * 10**9
"""One upload's limit."""
_TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_ABSENT: Final = ("NoSuchKey", "404", "NotFound")
_BUSY: Final = (
    "SlowDown",
    "503",
    "ServiceUnavailable",
    "InternalError",
    "500",
    "RequestTimeout",
    "Throttling",
)
_PERMISSIONS: Final = "needed: s3:ListBucket, s3:GetObject, and s3:PutObject and s3:DeleteObject on outputs"
_HINTS: Final[Mapping[str, str]] = {
    "NoSuchBucket": "create the bucket, or correct its name",
    "AccessDenied": _PERMISSIONS,
    "403": _PERMISSIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A bucket and a key."""

    bucket: str
    key: str


def address_of(uri: str) -> Address:
    """The bucket and key in an `s3://` address.

    Raises:
        BatchFailure: there is no bucket in it.
    """
    bucket, _, key = uri.removeprefix(S3).partition("/")
    if not bucket:
        raise BatchFailure(f"{uri} names no bucket", hint="write s3://BUCKET/KEY")
    return Address(bucket=bucket, key=key)


def client_of(*, path_style: bool) -> Any:
    """A client of this process; credentials, region and endpoint as the AWS variables say.

    Raises:
        BatchFailure: boto3 is not in the image.
    """
    return _client(os.getpid(), path_style)


@cache
def _client(_: int, path_style: bool) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise _without_boto3() from error
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 10},
        connect_timeout=10,
        read_timeout=60,
        s3={"addressing_style": "path"} if path_style else {},
    )
    # Where credentials were found is no news.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    with told("S3"):
        return boto3.client("s3", config=config)


def _without_boto3() -> BatchFailure:
    return BatchFailure(
        "s3:// needs boto3, which this image was built without", hint="runbake containerize --with s3"
    )


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Turn AWS's refusals into what the operator can act on.

    Raises:
        Incomplete: S3 is busy or cannot be reached: worth a retry.
        BatchFailure: anything else.
    """
    try:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
            IncompleteReadError,
        )
    except ImportError as error:
        raise _without_boto3() from error
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in _BUSY:
            raise Incomplete(
                f"{uri}: S3 is busy ({code}) and stayed so", hint="the same command continues"
            ) from error
        if code in ("PreconditionFailed", "412"):
            raise BatchFailure(
                f"{uri} was changed since the job was planned", hint="choose another output for the new input"
            ) from error
        raise BatchFailure(f"{uri}: S3 refuses: {code}", hint=_HINTS.get(code, "")) from error
    except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
        raise Incomplete(f"{uri}: S3 cannot be reached: {type(error).__name__}") from error
    except BotoCoreError as error:
        raise BatchFailure(
            f"{uri}: {str(error)[:300]}", hint="set credentials and region as for the AWS CLI"
        ) from error


def code_of(error: Any) -> str:
    """AWS's word for this refusal."""
    return str(error.response.get("Error", {}).get("Code", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Inputs:
    """Input files in buckets."""

    path_style: bool

    def find(self, uri: str) -> Sequence[Found]:
        """The objects that `uri` stands for, sorted.

        Raises:
            BatchFailure: there are none.
        """
        with told(uri):
            found = [one for one in self._found(uri) if not is_hidden(one.below)]
        if not found:
            raise BatchFailure(f"there is no input at {uri}", hint="name an object, a prefix or a glob")
        return sorted(found, key=lambda one: one.uri)

    def _found(self, uri: str) -> Iterator[Found]:
        address, pattern = address_of(uri), pattern_of(uri)
        wild = is_wild(uri)
        prefix = address_of(fixed_prefix(uri)).key if wild else address.key
        pages = client_of(path_style=self.path_style).get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=address.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                one = f"{S3}{address.bucket}/{item['Key']}"
                below = _below(one, uri, pattern, prefix_length=len(one) - len(item["Key"]) + len(prefix))
                if below is not None and not item["Key"].endswith("/"):
                    yield Found(
                        uri=one, size_bytes=item["Size"], fingerprint=item["ETag"].strip('"'), below=below
                    )

    def open(self, uri: str, fingerprint: str) -> BinaryIO:
        """The object as of this ETag."""
        raw = _S3File(uri, fingerprint, self.path_style)
        return io.BufferedReader(raw, _READ_BYTES)


def _below(one: str, uri: str, pattern: Any, *, prefix_length: int) -> str | None:
    if one == uri:
        return one.rsplit("/", 1)[-1]
    if not is_wild(uri):
        root = uri.rstrip("/") + "/"
        return one[len(root) :] if one.startswith(root) else None
    return one[prefix_length:] if pattern.fullmatch(one) else None


class _S3File(io.RawIOBase):
    """Ranges of one object; each is read anew, so that what breaks off is asked for again."""

    def __init__(self, uri: str, etag: str, path_style: bool) -> None:
        # With its quotes, as RFC 9110 has it.
        self._uri, self._etag, self._at = uri, f'"{etag}"', 0
        self._address, self._client = address_of(uri), client_of(path_style=path_style)
        with told(uri):
            head = self._client.head_object(
                Bucket=self._address.bucket, Key=self._address.key, IfMatch=self._etag
            )
        self._size: int = head["ContentLength"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        with told(self._uri):
            body = self._body(end)
        buffer[: len(body)] = body
        self._at += len(body)
        return len(body)

    def _body(self, end: int) -> bytes:
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        attempts = _READ_ATTEMPTS
        while True:
            attempts -= 1
            answer = self._client.get_object(
                Bucket=self._address.bucket,
                Key=self._address.key,
                Range=f"bytes={self._at}-{end - 1}",
                IfMatch=self._etag,
            )
            try:
                body: bytes = answer["Body"].read()
                return body
            except (HTTPClientError, IncompleteReadError):
                if not attempts:
                    raise


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Output:
    """A prefix that belongs to one job; parts are files in `scratch` before they are uploaded."""

    uri: str
    scratch: Path
    path_style: bool

    @property
    def _client(self) -> Any:
        return client_of(path_style=self.path_style)

    def _at(self, name: str) -> dict[str, str]:
        address = address_of(f"{self.uri.rstrip('/')}/{name}")
        return {"Bucket": address.bucket, "Key": address.key}

    def read(self, name: str) -> bytes | None:
        """A small object's bytes; None where it is not there."""
        with told(f"{self.uri}/{name}"):
            try:
                body: bytes = self._client.get_object(**self._at(name))["Body"].read()
            except _client_error() as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
        return body

    def create(self, name: str, body: bytes, *, replace: bool = False) -> bool:
        """Write a small object."""
        return self._put(name, body, {}, replace=replace)

    def commit(self, path: Path, name: str, sha256: str, *, replace: bool = False) -> bool:
        """Upload a file in one request.

        Raises:
            BatchFailure: S3 refuses, or the part is too large for one upload.
        """
        if path.stat().st_size > _MOST_BYTES:
            raise BatchFailure(f"{name} is larger than one upload's 5 GB", hint="smaller parts: --part-rows")
        checks = {
            "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "Metadata": {_SHA256: sha256},
        }
        with path.open("rb") as file:
            return self._put(name, file, checks, replace=replace)

    def _put(self, name: str, body: Any, more: Mapping[str, Any], *, replace: bool) -> bool:
        alone = {} if replace else {"IfNoneMatch": "*"}
        with told(f"{self.uri}/{name}"):
            try:
                self._client.put_object(**self._at(name), Body=body, **more, **alone)
            except _client_error() as error:
                if not replace and code_of(error) in _TAKEN:
                    return False
                raise
        return True

    def sum_of(self, name: str) -> tuple[int, str] | None:
        """Size, and the sha256 that S3 checked when it was uploaded."""
        with told(f"{self.uri}/{name}"):
            try:
                head = self._client.head_object(**self._at(name))
            except _client_error() as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
        return head["ContentLength"], head.get("Metadata", {}).get(_SHA256, "")

    def names(self, folder: str) -> frozenset[str]:
        """Names below this prefix."""
        where = self._at(f"{folder}/")
        with told(f"{self.uri}/{folder}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=where["Bucket"], Prefix=where["Key"]
            )
            return frozenset(
                item["Key"][len(where["Key"]) :] for page in pages for item in page.get("Contents", ())
            )

    def clear(self, name: str) -> None:
        """Remove an object, if it is there."""
        with told(f"{self.uri}/{name}"):
            self._client.delete_object(**self._at(name))

    def leave(self) -> None:
        """Nothing is left behind: each scratch file goes with its part."""


def _client_error() -> Any:
    from botocore.exceptions import ClientError

    return ClientError
