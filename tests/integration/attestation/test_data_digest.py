"""Our own digest of a dataset: of what may be read, as others would compute it; never a reason to stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from runbake.cli.data_digest import data_digest_of

REGION = "eu-central-1"


class Story:
    """What a person would read."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Story]:
        yield self

    def say(self, text: str) -> None:
        """Nobody reads it."""

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def dataset(uri: str) -> Mapping[str, object]:
    return {"name": "wine", "sourceType": "local", "source": json.dumps({"uri": uri})}


def digest(uri: str, *allowed: str) -> tuple[tuple[str, str], list[str]]:
    story = Story()
    found = data_digest_of(allowed, REGION, story)(dataset(uri))  # type: ignore[arg-type]
    return found, story.warnings


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_has_its_sha256(tmp_path: Path) -> None:
    """As `sha256sum` says it, by path and by file URI."""
    path = tmp_path / "wine.csv"
    path.write_bytes(b"a,b\n1,2\n")

    assert digest(str(path), str(tmp_path)) == (("sha256", sha256(b"a,b\n1,2\n")), [])
    assert digest(path.as_uri(), str(tmp_path)) == (("sha256", sha256(b"a,b\n1,2\n")), [])


def test_a_directory_has_go_s_hash(tmp_path: Path) -> None:
    """Hash1 of dirhash: two blanks, slashes, sorted by name; a link inside is not followed."""
    root = tmp_path / "parts"
    (root / "day=2").mkdir(parents=True)
    (root / "day=2" / "x.parquet").write_bytes(b"2")
    (root / "b").write_bytes(b"1")
    (root / "link").symlink_to("/etc/hostname")
    wanted = sha256(f"{sha256(b'1')}  b\n{sha256(b'2')}  day=2/x.parquet\n".encode())

    assert digest(str(root), str(tmp_path)) == (("dirHash", wanted), [])


def test_nothing_is_read_that_is_not_allowed(tmp_path: Path) -> None:
    """Without a place nothing is said; with one, what lies elsewhere is a warning, links followed."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.csv").symlink_to("/etc/hostname")

    assert digest("/etc/hostname") == (("", ""), [])
    for uri in ("/etc/hostname", str(tmp_path / "in" / "link.csv"), str(tmp_path / "in" / "gone.csv")):
        found, (warning,) = digest(uri, str(tmp_path / "in"))
        assert found == ("", "")
        assert warning.startswith("the dataset 'wine' is not hashed: ")


def test_an_object_on_s3_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same sha256; one that is not there is a warning."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        storage = boto3.client("s3", region_name=REGION)
        storage.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
        body = b"0123456789" * 300_000
        storage.put_object(Bucket="data", Key="in/wine.parquet", Body=body)

        assert digest("s3://data/in/wine.parquet", "s3://data/in") == (("sha256", sha256(body)), [])
        found, (warning,) = digest("s3://data/in/gone.parquet", "s3://data/in")
        assert found == ("", "")
        assert "gone.parquet" in warning
    finally:
        server.stop()
