"""`runbake batch submit`: from a run to a job on a machine of its AMI, bucket to bucket, and its status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from sklearn.datasets import load_wine

from tests.e2e.clouds import NOTHING, REGION, Cloud, running_cloud
from tests.e2e.world import ROOT, Said, World, log_wine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LAUNCH_POLICY = ROOT / "packer" / "iam" / "launch.json"
PROFILE = ("--instance-profile", "runbake-batch", "--output-format", "csv")
JOB = (*PROFILE, "--input", "s3://batch/in/*.csv")


@dataclass(frozen=True)
class Baked:
    """A run, its AMI, and the bucket `batch` with wines in it."""

    run: str
    image: str
    ami: str
    storage: Any
    cloud: Cloud


@pytest.fixture(scope="module")
def baked(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Baked]:
    """The AMI of an image that reads s3://, in a cloud of this module's."""
    run = log_wine(world.mlflow_uri, c=0.4)
    wanted = ("--repository", f"{world.registry}/submit", "--with", "s3", "--no-prove", "--allow-unproven")
    image = world.done("containerize", run, *wanted).out.strip()
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        said = world.done("ami", image, "--allow-from", "127.0.0.0/8", env=cloud.environment)
        storage, roles = (
            boto3.session.Session().client(
                service,
                endpoint_url=cloud.url,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                region_name=REGION,
            )
            for service in ("s3", "iam")
        )
        roles.create_instance_profile(InstanceProfileName="runbake-batch")
        storage.create_bucket(Bucket="batch", CreateBucketConfiguration={"LocationConstraint": REGION})
        wines = load_wine(as_frame=True).data.to_csv(index=False)
        storage.put_object(Bucket="batch", Key="in/wines.csv", Body=wines.encode())
        yield Baked(run=run, image=image, ami=said.out.strip(), storage=storage, cloud=cloud)


def batch(world: World, baked: Baked, directory: Path, *arguments: str) -> Said:
    """Run `runbake batch` there."""
    return world.run("batch", *arguments, env=baked.cloud.environment, cwd=directory)


def launched(cloud: Cloud) -> list[dict[str, str]]:
    """The requests for machines with a job."""
    return [
        request
        for request in cloud.requests()
        if request["Action"] == "RunInstances" and "runbake-batch" in request.values()
    ]


def test_a_run_s_job_ends_on_a_machine_of_its_own(world: World, baked: Baked, tmp_path: Path) -> None:
    """Rows in are rows out; the status is the job's, the machine is gone, and its tags lead to the run."""
    begun = len(baked.cloud.requests())
    submit = ("submit", baked.run, *JOB, "--output", "s3://batch/scores")
    plan = json.loads(batch(world, baked, tmp_path, *submit, "--dry-run").out)
    assert (plan["ami"], plan["run"]) == (baked.ami, baked.run)
    assert launched(baked.cloud) == []

    said = batch(world, baked, tmp_path, *submit)
    assert said.status == 0, said.err
    told = json.loads((tmp_path / "job.json").read_text())
    assert (told["status"], told["job"], told["run"]) == ("done", said.out.strip(), baked.run)
    (request,) = launched(baked.cloud)
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert request["MetadataOptions.HttpTokens"] == "required"
    waited = batch(world, baked, tmp_path, "wait", "job.json", "--timeout", "0.05")
    assert waited.status == 0, waited.err + batch(world, baked, tmp_path, "logs", "job.json").out

    body = baked.storage.get_object(Bucket="batch", Key="scores/_MANIFEST.json")["Body"].read()
    manifest = json.loads(body)
    assert (manifest["rows_in"], manifest["rows_out"]) == (178, 178)
    assert baked.run in body.decode()
    assert "178" in batch(world, baked, tmp_path, "logs", "job.json").out
    status = json.loads(batch(world, baked, tmp_path, "status", told["instance"], "--json").out)
    assert (status["state"], status["status"], status["machine"]) == ("ended", 0, "terminated")
    assert (status["run"], status["image"]) == (baked.run, baked.image)
    for name in (told["instance"], str(tmp_path / "job.json"), "s3://batch/scores"):
        assert "C=0.4" in world.done("trace", name, env=baked.cloud.environment).out
    assert f"s3://batch/scores {told['job']}" in world.done("trace", baked.run).out
    listed = batch(world, baked, tmp_path, "list", "--region", REGION).out
    assert [line.split("\t")[:3] for line in listed.splitlines()] == [
        [told["job"], told["instance"], "terminated"]
    ]
    assert "has ended before" in batch(world, baked, tmp_path, "cancel", told["job"]).out
    check_policy(baked.cloud.requests()[begun:])
    assert baked.cloud.left() == NOTHING


def check_policy(requests: list[dict[str, str]]) -> None:
    """Every one of these calls is in packer/iam/launch.json."""
    actions = [statement["Action"] for statement in json.loads(LAUNCH_POLICY.read_text())["Statement"]]
    allowed = {one for action in actions for one in ([action] if isinstance(action, str) else action)}
    assert {f"ec2:{request['Action']}" for request in requests} <= allowed


def test_a_job_that_fails_fails_here(world: World, baked: Baked, tmp_path: Path) -> None:
    """With its own exit status, and its own words in the logs."""
    wanted = (*PROFILE, "--input", "s3://batch/nowhere.csv")
    said = batch(
        *(world, baked, tmp_path, "submit", baked.ami, *wanted, "--output", "s3://batch/none", "--wait"),
    )
    assert said.status == 74, said.err
    assert "nowhere.csv" in batch(world, baked, tmp_path, "logs", "job.json").out


def test_an_image_without_an_ami_is_told_what_to_bake(world: World, baked: Baked, wine_image: str) -> None:
    """And a job that EC2 does not know is told so; nothing was started."""
    begun = len(launched(baked.cloud))
    said = batch(world, baked, world.directory, "submit", wine_image, *JOB, "--output", "s3://batch/x")
    assert said.status == 120, said.err
    assert f"runbake ami {wine_image}" in said.err
    lost = batch(world, baked, world.directory, "wait", "0" * 12)
    assert (lost.status, "knows no machine" in lost.err) == (120, True)
    assert len(launched(baked.cloud)) == begun
