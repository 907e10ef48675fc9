"""The machine's own script with the real container, from bucket to bucket, as the AMI runs it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sklearn.datasets import load_wine

from lab.packages import find_program
from tests.e2e.imds import INSTANCE, REGION, metadata
from tests.e2e.world import ROOT, World, log_wine

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "packer" / "common" / "runbake-job"


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
                # Another worker may run one at the same time.
                *("--name", f"runbake-job-{secrets.token_hex(4)}"),
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
    assert (record["status"], record["why"], record["instance"]) == (0, "ended", INSTANCE)
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
