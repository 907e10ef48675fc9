"""A small Amazon for the tests: EC2 whose machines are containers, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.e2e.fake_ec2 import WITHOUT_ENGINE
from tests.e2e.world import ROOT

REGION = "eu-central-1"
NOTHING: dict[str, list[str]] = {"machines": [], "groups": [], "keys": []}
_DEADLINE_S = 180
_SOURCE = {
    "ami_id": "ami-0debian12000000001",
    "owner_id": "136693071363",
    "name": "debian-12-amd64-20261101-1",
    "description": "Debian 12",
    "architecture": "x86_64",
    "image_location": "amazon/debian-12",
    "image_type": "machine",
    "public": True,
    "root_device_name": "/dev/xvda",
    "root_device_type": "ebs",
    "state": "available",
    "virtualization_type": "hvm",
    "hypervisor": "xen",
    "creation_date": "2026-11-01T00:00:00.000Z",
}


@dataclass(frozen=True)
class Cloud:
    """Where it answers, and what it was asked."""

    url: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the command needs to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }

    def client(self, region: str = REGION) -> Any:
        """boto3's own client."""
        return boto3.session.Session().client(
            "ec2",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def requests(self) -> list[dict[str, str]]:
        """Every request so far, as its form."""
        log = self.directory / "requests.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def left(self) -> dict[str, list[str]]:
        """What a bake makes for itself and is not to leave: machines, groups, keys."""
        client = self.client()
        machines = [
            instance["InstanceId"]
            for page in client.describe_instances()["Reservations"]
            for instance in page["Instances"]
            if instance["State"]["Name"] != "terminated"
        ]
        groups = [
            group["GroupId"]
            for group in client.describe_security_groups()["SecurityGroups"]
            if group["GroupName"] != "default"
        ]
        keys = [pair["KeyName"] for pair in client.describe_key_pairs()["KeyPairs"]]
        return {"machines": machines, "groups": groups, "keys": keys}


@contextmanager
def running_cloud(directory: Path) -> Iterator[Cloud]:
    """The cloud, empty but for Debian's source image; a failure to start shows its log."""
    amis, log = directory / "amis.json", directory / "log"
    amis.write_text(json.dumps([_SOURCE, {**_SOURCE, "ami_id": WITHOUT_ENGINE, "name": "without-engine"}]))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.fake_ec2", str(directory)],
            cwd=ROOT,
            env={
                **os.environ,
                "MOTO_AMIS_PATH": str(amis),
                "PYTHONPATH": f"{ROOT}:{ROOT / 'builder'}:{ROOT / 'serving_template'}",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        give_up_at = time.monotonic() + _DEADLINE_S
        while not (directory / "address").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.05)
        yield Cloud(url=(directory / "address").read_text(), directory=directory)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
