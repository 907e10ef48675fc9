"""The machine's own script with the real container, from bucket to bucket, as the AMI runs it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sklearn.datasets import load_wine

from lab.packages import find_program
from tests.e2e.world import ROOT, World, log_wine

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "packer" / "common" / "runbake-job"
REGION = "eu-central-1"
KEYS = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret", "Token": "t", "Code": "Success"}


@contextmanager
def metadata(user_data: str | None) -> Iterator[str]:
    """The metadata service of one machine, by session token only."""
    token = secrets.token_hex(8)
    said = {
        "meta-data/placement/region": REGION,
        "meta-data/instance-id": "i-0123456789abcdef0",
        "meta-data/iam/security-credentials/": "batch",
        "meta-data/iam/security-credentials/batch": json.dumps(
            {**KEYS, "Expiration": "2036-01-01T00:00:00Z"}
        ),
        **({"user-data": user_data} if user_data is not None else {}),
    }

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._say(200, token)

        def do_GET(self) -> None:
            if self.headers["X-aws-ec2-metadata-token"] != token:
                self._say(401, "")
                return
            found = said.get(self.path.removeprefix("/latest/"))
            self._say(404 if found is None else 200, found or "")

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Storage:
    """A bucket `batch` with wines as csv, and where it is."""

    url: str
    client: Any

    def read(self, key: str) -> str:
        body: str = self.client.get_object(Bucket="batch", Key=key)["Body"].read().decode()
        return body


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """S3 by moto."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        region_name=REGION,
    )
    client.create_bucket(Bucket="batch", CreateBucketConfiguration={"LocationConstraint": REGION})
    wines = load_wine(as_frame=True).data.to_csv(index=False)
    client.put_object(Bucket="batch", Key="in/wines.csv", Body=wines.encode())
    yield Storage(url=f"http://{host}:{port}", client=client)
    server.stop()


@pytest.fixture(scope="module")
def image(world: World) -> str:
    """An image that reads s3://, in the engine."""
    # botocore wants it; the newest that pandas takes is another one.
    run = log_wine(world.mlflow_uri, c=0.3, requirements=("python-dateutil<3",))
    wanted = ("--repository", f"{world.registry}/s3", "--with", "s3", "--no-prove", "--allow-unproven")
    made = world.done("containerize", run, *wanted).out.strip()
    subprocess.run((str(find_program("docker")), "pull", "--quiet", made), check=True, capture_output=True)
    return made


def machine(
    directory: Path, image: str, job: dict[str, Any] | None
) -> tuple[subprocess.CompletedProcess[str], bool]:
    """Run the script as the unit does; how it ended, and whether it powered the machine off."""
    (directory / "image").write_text(image + "\n")
    with metadata(None if job is None else json.dumps({"runbake": job})) as url:
        done = subprocess.run(
            (
                *(sys.executable, str(SCRIPT), "--imds", url, "--directory", str(directory / "work")),
                *("--image", str(directory / "image"), "--power-off", f"touch {directory}/off"),
            ),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    return done, (directory / "off").exists()


def job(storage: Storage, uri: str, logs: str) -> dict[str, Any]:
    return {
        "schema": "https://runbake.dev/schema/instance-job/v1",
        "job": {
            "schema": "https://runbake.dev/schema/batch-job/v1",
            "input": {"uris": [uri]},
            "output": {"uri": f"s3://batch/{logs}/out/", "format": "csv"},
        },
        "logs": f"s3://batch/{logs}",
        "time_limit_s": 180,
        "s3_endpoint": storage.url,
    }


def test_a_job_runs_to_its_end(tmp_path: Path, storage: Storage, image: str) -> None:
    """Rows in are rows out, by the role's credentials; log and record are there, and the machine goes off."""
    done, off = machine(tmp_path, image, job(storage, "s3://batch/in/wines.csv", "good"))

    assert (done.returncode, off) == (0, True), done.stdout + done.stderr
    manifest = json.loads(storage.read("good/out/_MANIFEST.json"))
    assert (manifest["rows_in"], manifest["rows_out"]) == (178, 178)
    record = json.loads(storage.read("good/_JOB.json"))
    assert (record["status"], record["why"], record["instance"]) == (0, "ended", "i-0123456789abcdef0")
    assert "178" in storage.read("good/container.log")


def test_a_job_that_fails_tells_why(tmp_path: Path, storage: Storage, image: str) -> None:
    """The container's status, its log, and power off all the same."""
    done, off = machine(tmp_path, image, job(storage, "s3://batch/in/nowhere.csv", "bad"))

    assert (done.returncode, off) == (1, True), done.stdout + done.stderr
    assert json.loads(storage.read("bad/_JOB.json"))["status"] == 74
    assert "nowhere.csv" in storage.read("bad/container.log")


def test_a_job_that_cannot_be_read_tells_why(tmp_path: Path, storage: Storage) -> None:
    """No container is started, and the record says so."""
    wrong = {**job(storage, "s3://batch/in/wines.csv", "wrong"), "tiem_limit_s": 1}
    done, off = machine(tmp_path, "none", wrong)

    assert (done.returncode, off) == (1, True)
    assert json.loads(storage.read("wrong/_JOB.json"))["status"] is None
    assert "tiem_limit_s" in storage.read("wrong/container.log")


def test_an_image_that_is_not_there_tells_why(tmp_path: Path, storage: Storage) -> None:
    """The engine's own words are in the log."""
    done, off = machine(tmp_path, "localhost/none:1", job(storage, "s3://batch/in/wines.csv", "none"))

    assert (done.returncode, off) == (1, True)
    assert json.loads(storage.read("none/_JOB.json"))["status"] == 125
    assert "localhost/none" in storage.read("none/container.log")


def test_without_a_job_the_machine_stays_up(tmp_path: Path) -> None:
    """An AMI that is started for anything else is left alone."""
    done, off = machine(tmp_path, "none", None)

    assert (done.returncode, off) == (0, False)
