"""A job on a machine: what is asked of EC2, and what is refused before anything is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from runbake.ami import DONE, TAG_BAKE, TAG_DIGEST, TAG_IMAGE, TAG_STATE
from runbake.aws import Machine, MachineImage
from runbake.errors import ConfigError, JobError
from runbake.jobs import TAG_JOB, TAG_LOGS, JobPlan, Machinery, outcome_of, plan_job
from runbake_serving.contract import LABEL_RUN_ID

RUN = "0123456789abcdef0123456789abcdef"
IMAGE = MachineImage(
    image_id="ami-0123456789abcdef0",
    name="runbake-0-0",
    state="available",
    architecture="x86_64",
    root_device="/dev/xvda",
    root_gb=20,
    created_at="2026-11-20T00:00:00Z",
    tags={
        TAG_STATE: DONE,
        TAG_BAKE: "0" * 12,
        TAG_IMAGE: "r.example.org/wine@sha256:00",
        TAG_DIGEST: "sha256:00",
        LABEL_RUN_ID: RUN,
    },
    snapshots=(),
)
MACHINERY = Machinery(region="eu-central-1", instance_type="m5.large", instance_profile="runbake-batch")
SPEC = {"input": {"uris": ["s3://rows/day=*/"]}, "output": {"uri": "s3://out/scores/"}}


def planned(
    machinery: Machinery = MACHINERY, image: MachineImage = IMAGE, spec: Any = SPEC, logs: str = ""
) -> JobPlan:
    """A plan of the usual parts."""
    return plan_job(
        machinery,
        image,
        spec,
        job_id="0123456789ab",
        logs=logs,
        time_limit_s=60,
        provenance=((LABEL_RUN_ID, RUN),),
    )


def test_the_machine_removes_itself_and_gives_its_role_to_nobody_else() -> None:
    """What EC2 is asked for, and that instance and disk carry the way back, never the bake's own tags."""
    asked = planned().request(spot=False)

    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert asked["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert "InstanceMarketOptions" not in asked
    assert [one["ResourceType"] for one in asked["TagSpecifications"]] == ["instance", "volume"]
    tags = {tag["Key"]: tag["Value"] for tag in asked["TagSpecifications"][0]["Tags"]}
    assert tags[LABEL_RUN_ID] == RUN
    assert (tags[TAG_JOB], tags[TAG_LOGS]) == ("0123456789ab", "s3://out/scores-logs/0123456789ab")
    assert not {TAG_BAKE, TAG_STATE} & tags.keys()
    order = json.loads(asked["UserData"])["runbake"]
    assert (order["logs"], order["time_limit_s"]) == ("s3://out/scores-logs/0123456789ab", 60)
    assert order["job"] == {"schema": "https://runbake.dev/schema/batch-job/v1", **SPEC}


def test_a_second_try_on_demand_is_another_request_with_a_token_of_its_own() -> None:
    """The same token with other words is refused by EC2; the same token gives the same machine."""
    plan = planned(replace(MACHINERY, spot=True))
    spot, on_demand = plan.request(spot=True), plan.request(spot=False)

    assert spot["InstanceMarketOptions"]["MarketType"] == "spot"
    assert spot["ClientToken"] != on_demand["ClientToken"]
    assert spot == plan.request(spot=True)


def test_user_data_ends_at_16_kb() -> None:
    """To the byte, and before any call."""

    def of(characters: int) -> JobPlan:
        uris = ["s3://rows/" + "x" * characters]
        return planned(spec={**SPEC, "input": {"uris": uris}})

    room = (16 << 10) - len(of(0).user_data)
    assert len(of(room).user_data) == 16 << 10
    with pytest.raises(JobError, match="16385 bytes"):
        of(room + 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"spec": {"output": {"uri": "s3://out/x"}}}, "no --input"),
        ({"spec": {"input": {"uris": ["s3://rows/x"]}}}, "no --output"),
        ({"spec": {**SPEC, "output": {"uri": "/tmp/x"}}}, "not on s3://"),
        ({"spec": {**SPEC, "input": {"uris": ["x.csv"]}}}, "not on s3://"),
        ({"spec": {**SPEC, "input": "s3://rows/x"}}, "no --input"),
        ({"spec": {**SPEC, "output": {"uri": "s3://out"}}, "logs": "s3://out/x y"}, "plain letters"),
        ({"logs": "s3://out/scores/logs"}, "inside the output"),
        ({"logs": "/var/log"}, "plain letters"),
        ({"machinery": replace(MACHINERY, instance_type="m7g.large")}, "m7g.large is arm64"),
        ({"image": replace(IMAGE, tags={**IMAGE.tags, TAG_STATE: "begun"})}, "no finished AMI"),
        ({"image": replace(IMAGE, tags={})}, "no finished AMI"),
    ],
)
def test_what_cannot_run_is_refused(change: dict[str, Any], told: str) -> None:
    """With the cause, before any call."""
    with pytest.raises(JobError, match=told):
        planned(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"region": "eu"},
        {"instance_type": "big"},
        {"instance_profile": ""},
        {"subnet": "subnet-x"},
        {"groups": ("default",)},
    ],
)
def test_a_machine_of_no_known_shape_is_refused(change: dict[str, Any]) -> None:
    """By the option's name."""
    with pytest.raises(ConfigError, match="is not one"):
        replace(MACHINERY, **change)


def machine(state: str) -> Machine:
    """A machine in that state."""
    return Machine(
        instance_id="i-0123456789abcdef0",
        image_id=IMAGE.image_id,
        kind="m5.large",
        state=state,
        spot=False,
        launched_at=datetime(2026, 11, 20, tzinfo=UTC),
        why="Server.SpotInstanceTermination",
        tags={},
    )


def test_a_record_settles_how_a_job_ended() -> None:
    """Whatever EC2 says, and where it says nothing any more."""
    for known in (None, machine("running"), machine("terminated")):
        found = outcome_of(known, {"status": 73, "why": "ended"})
        assert (found.state, found.status, found.over) == ("ended", 73, True)


@pytest.mark.parametrize(
    ("known", "state", "over"),
    [
        (machine("pending"), "starting", False),
        (machine("running"), "running", False),
        (machine("shutting-down"), "lost", True),
        (machine("terminated"), "lost", True),
        (None, "lost", True),
    ],
)
def test_without_a_record_the_machine_tells(known: Machine | None, state: str, over: bool) -> None:
    """A machine that is gone and left none lost its job."""
    found = outcome_of(known, None)
    assert (found.state, found.status, found.over) == (state, None, over)


def test_a_record_of_another_shape_is_no_success() -> None:
    """Whoever may write to the bucket writes it."""
    assert outcome_of(None, {"status": True}).status is None
    assert outcome_of(None, {"status": "0"}).status is None
