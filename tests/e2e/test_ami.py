"""An image becomes a machine image: by real Packer, on machines that are containers, against moto."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from lab.engine import engine
from lab.machine import USER
from runbake.ami import DONE, TAG_IMAGE, TAG_STATE
from runbake.provenance import ec2_tags
from runbake.published import read_published
from runbake.registry import ImageRef
from runbake.tracking import Tracking
from runbake_serving.contract import LABEL_RUN_ID
from tests.e2e.clouds import NOTHING, REGION, Cloud, running_cloud
from tests.e2e.fake_ec2 import WITHOUT_ENGINE
from tests.e2e.world import ROOT, Said, World

DEADLINE_S = 120
FORCED = ("ami", "bake", "--force", "--allow-from", "127.0.0.0/8")
BAKE_POLICY = ROOT / "packer" / "iam" / "bake.json"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, wine_image: str) -> Iterator[Cloud]:
    """An Amazon without AMIs of ours; what smoke runs left in this machine's engine is removed with it."""
    with running_cloud(tmp_path_factory.mktemp("cloud")) as made:
        yield made
    for container in engine().containers.list(
        all=True, filters={"name": f"runbake-smoke-{wine_image[-12:]}"}
    ):
        container.remove(force=True)


def ami(world: World, cloud: Cloud, *arguments: str) -> Said:
    """Run `runbake ami`."""
    return world.run("ami", *arguments, "--allow-from", "127.0.0.0/8", env=cloud.environment)


def report(world: World) -> dict[str, Any]:
    """The last ami.json."""
    document: dict[str, Any] = json.loads((world.directory / "ami.json").read_text())
    return document


def tags_of(described: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}


def kept_files(image_id: str) -> dict[str, str]:
    """The files on an AMI's disk that matter here, those that are links as what they point to."""
    client = engine()
    container = client.containers.create(f"runbake-lab/ami:{image_id}", ["true"])
    try:
        found = {}
        for path in ("/etc/runbake", "/etc/systemd/system", "/etc/ssh", f"/home/{USER}"):
            with tarfile.open(fileobj=BytesIO(b"".join(container.get_archive(path)[0]))) as archive:
                for member in archive:
                    name = f"{Path(path).parent}/{member.name}".replace("//", "/")
                    body = archive.extractfile(member) if member.isfile() else None
                    found[name] = body.read().decode() if body else member.linkname
        return found
    finally:
        container.remove()


def test_an_image_becomes_a_machine_image(world: World, cloud: Cloud, wine_image: str, wine_run: str) -> None:
    """It holds image and unit and no identity, carries the provenance, and is found when asked for again."""
    begun = len(cloud.requests())
    said = ami(world, cloud, wine_image, "--deprecate-after", "30", "--copy-to", "eu-west-1")
    assert said.status == 0, said.err
    image_id = said.out.strip()

    ref = ImageRef.parse(wine_image)
    published = read_published(ref, world.client())
    (image,) = cloud.client().describe_images(ImageIds=[image_id])["Images"]
    (copy,) = cloud.client("eu-west-1").describe_images(Owners=["self"])["Images"]
    provenance = dict(ec2_tags(published.labels.items()))
    for described in (image, copy):
        assert tags_of(described).items() >= {**provenance, TAG_STATE: DONE}.items()
    (snapshot,) = cloud.client().describe_snapshots(
        SnapshotIds=[image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]]
    )["Snapshots"]
    assert tags_of(snapshot).items() >= provenance.items()
    _check_requests(cloud, wine_run, image_id)
    _check_disk(image_id, f"{ref.repository}@{published.digest}")
    check_policy(cloud.requests()[begun:])
    assert cloud.left() == NOTHING

    traced = world.done("trace", image_id, env=cloud.environment).out
    assert [line.split()[0] for line in traced.splitlines()[:2]] == ["ami", "image"]
    assert wine_run in traced

    told = report(world)
    assert (told["status"], told["id"], told["new"]) == ("done", image_id, True)
    assert [(one["region"], one["id"]) for one in told["images"]] == [
        (REGION, image_id),
        ("eu-west-1", copy["ImageId"]),
    ]
    stops = dict(Tracking(world.mlflow_uri).stops_of(wine_run))
    assert (stops[f"runbake.ami.{REGION}"], stops["runbake.ami.eu-west-1"]) == (image_id, copy["ImageId"])

    before = len(cloud.requests())
    again = ami(world, cloud, wine_image)
    assert (again.status, again.out.strip(), report(world)["new"]) == (0, image_id, False)
    assert {request["Action"] for request in cloud.requests()[before:]} == {"DescribeImages"}


def _check_requests(cloud: Cloud, run: str, image_id: str) -> None:
    """What moto does not keep was asked for rightly, and Packer was told nothing of MLflow's."""
    requests = cloud.requests()
    ours = next(at for at, request in enumerate(requests) if run in request.values())
    assert requests[ours]["Action"] == "CreateTags"
    assert requests[ours]["ResourceId.1"] == image_id
    by_action = {request["Action"]: request for request in requests}
    machine = by_action["RunInstances"]
    assert machine["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert machine["InstanceInitiatedShutdownBehavior"] == "terminate"
    rule = by_action["AuthorizeSecurityGroupIngress"]
    assert {value for key, value in rule.items() if "Cidr" in key} == {"127.0.0.0/8"}
    assert by_action["CopyImage"]["Encrypted"] == "true"
    assert "DeprecateAt" in by_action["EnableImageDeprecation"]
    support = [request for request in requests if request.get("ImdsSupport.Value")]
    assert [request["ImdsSupport.Value"] for request in support] == ["v2.0", "v2.0"]


def _check_disk(image_id: str, reference: str) -> None:
    """The image by digest and the unit, switched on; no key, no leavings."""
    files = kept_files(image_id)
    assert files["/etc/runbake/image"].strip() == reference
    enabled = "/etc/systemd/system/multi-user.target.wants/runbake-job.service"
    assert files[enabled] == "/etc/systemd/system/runbake-job.service"
    assert not [name for name in files if "ssh_host" in name]
    assert "ssh-rsa" not in files.get(f"/home/{USER}/.ssh/authorized_keys", "")


def test_an_ami_leads_to_its_run_without_the_registry(world: World, cloud: Cloud) -> None:
    """By its tags alone; one that is not ours is named as such."""
    client, run = cloud.client("eu-west-3"), "0" * 32
    image_id = client.register_image(Name="runbake-x")["ImageId"]
    environment = {**cloud.environment, "AWS_REGION": "eu-west-3"}
    other = world.run("trace", image_id, env=environment)
    tags = {LABEL_RUN_ID: run, TAG_IMAGE: f"127.0.0.1:1/gone@sha256:{'0' * 64}"}
    client.create_tags(
        Resources=[image_id], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )

    traced = world.done("trace", image_id, env=environment)

    assert (other.status, "not baked by runbake" in other.err) == (65, True)
    assert [line.split()[0] for line in traced.out.splitlines()] == ["ami", "image", "run"]
    assert traced.out.split()[-1] == run
    assert "note:" in traced.err


def check_policy(requests: list[dict[str, str]]) -> None:
    """Every one of these calls is in packer/iam/bake.json."""
    asked = {f"ec2:{request['Action']}" for request in requests}
    statements = json.loads(BAKE_POLICY.read_text())["Statement"]
    actions = [statement["Action"] for statement in statements]
    allowed = {one for action in actions for one in ([action] if isinstance(action, str) else action)}

    assert asked <= allowed


def test_a_bake_that_fails_leaves_nothing(world: World, cloud: Cloud, wine_image: str) -> None:
    """On a machine without an engine: the cause, what was removed, and a document for the next stage."""
    said = ami(world, cloud, wine_image, "--force", "--source", WITHOUT_ENGINE)

    assert said.status == 113, said.err
    error = said.err[said.err.index("error:") :]
    assert "unit docker.service does not exist" in error
    assert "removed the group" in error
    told = report(world)
    assert (told["status"], told["error"]["kind"]) == ("failed", "BakeFailed")
    assert cloud.left() == NOTHING


def test_a_bake_that_is_ended_leaves_nothing(world: World, cloud: Cloud, wine_image: str) -> None:
    """SIGTERM while the machine is being set up: Packer and we remove all of it."""
    with baking(world, cloud, wine_image) as process:
        process.terminate()
        _, err = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 143, err
    assert cloud.left() == NOTHING


@pytest.mark.slow
def test_what_a_killed_bake_left_is_reaped(world: World, cloud: Cloud, wine_image: str) -> None:
    """Nobody had the time to remove anything: `reap` does what is old enough, and nothing else."""
    other = cloud.client().run_instances(ImageId=WITHOUT_ENGINE, MinCount=1, MaxCount=1)["Instances"][0]
    with baking(world, cloud, wine_image) as process:
        (packer,) = children_of(process.pid)
        process.kill()
        os.killpg(packer, signal.SIGKILL)
    left = cloud.left()
    assert len(left["machines"]) == 2
    begun = len(cloud.requests())
    young = world.done("ami", "reap", env=cloud.environment)
    assert (young.out, cloud.left()) == ("", left)

    reaped = world.done("ami", "reap", "--older-than", "0", env=cloud.environment)

    assert cloud.left() == {**NOTHING, "machines": [other["InstanceId"]]}
    assert {line.split("\t")[1].split()[0] for line in reaped.out.splitlines()} == {
        "instance",
        "group",
        "key",
    }
    cloud.client().terminate_instances(InstanceIds=[other["InstanceId"]])
    check_policy(cloud.requests()[begun:])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_moment_of_a_kill_leaves_anything_for_good(world: World, cloud: Cloud, wine_image: str) -> None:
    """After every kind of request that makes something, Packer and we are killed; `reap` finds all of it."""
    for action in (
        *("CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "CreateKeyPair", "RunInstances"),
        *("StopInstances", "CreateImage", "TerminateInstances", "DeleteKeyPair"),
    ):
        before = len(cloud.requests())
        with world.popen(*FORCED, wine_image, env=cloud.environment) as process:
            wait_for(lambda action=action, before=before: asked(cloud, action, before), process)
            children = children_of(process.pid)
            process.kill()
            for packer in children:
                os.killpg(packer, signal.SIGKILL)
        # The server finishes the request that it was killed in.
        world.done("ami", "reap", "--older-than", "0", env=cloud.environment)
        world.done("ami", "reap", "--older-than", "0", env=cloud.environment)

        images = cloud.client().describe_images(Owners=["self"])["Images"]
        assert cloud.left() == NOTHING, action
        assert [image["ImageId"] for image in images if tags_of(image).get(TAG_STATE) != DONE] == [], action


def asked(cloud: Cloud, action: str, before: int) -> bool:
    return any(request["Action"] == action for request in cloud.requests()[before:])


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return when it holds; the command's own words are shown when it ended before."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    """The processes that another one started; none is no error."""
    told = subprocess.run(
        ("ps", "-o", "pid=", "--ppid", str(pid)), capture_output=True, text=True, check=False
    )
    return [int(line) for line in told.stdout.split()]


@contextmanager
def baking(world: World, cloud: Cloud, image: str) -> Iterator[subprocess.Popen[str]]:
    """A bake whose machine is there."""
    machines = len(cloud.left()["machines"])
    with world.popen(*FORCED, image, env=cloud.environment) as process:
        wait_for(lambda: len(cloud.left()["machines"]) > machines, process)
        yield process
