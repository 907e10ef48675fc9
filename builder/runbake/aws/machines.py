"""Machines of Amazon EC2 in one region: started for a job, looked at, ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbake.aws.clients import client_of
from runbake.aws.ec2 import filters, tags_of
from runbake.aws.refusals import refusals

_NO_SPOT = (
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
)
"""Source: Amazon EC2 API, error codes: why a spot machine is not to be had, where another kind may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An instance as EC2 describes it; `state` in EC2's words, `why` the reason, "" where it gives none."""

    instance_id: str
    image_id: str
    kind: str
    state: str
    spot: bool
    launched_at: datetime
    why: str
    tags: Mapping[str, str]

    @property
    def alive(self) -> bool:
        """Whether it costs money."""
        return self.state not in ("shutting-down", "terminated")


class Machines:
    """The instances of one region."""

    def __init__(self, region: str) -> None:
        """Make the client; "" is the region of AWS's own configuration.

        Raises:
            AwsError: boto3 is not installed, or no region is known.
        """
        self._client: Any = client_of("ec2", region)
        self.region = str(self._client.meta.region_name)

    def launch(self, request: Mapping[str, Any]) -> Machine | None:
        """Start the one machine of a RunInstances request; None where it asks for spot and there is none now.

        The same `ClientToken` gives the same machine.

        Raises:
            AwsError: AWS refuses.
        """
        from botocore.exceptions import ClientError

        with refusals(f"a machine from {request['ImageId']} in {self.region}"):
            try:
                answer = self._client.run_instances(**request)
            except ClientError as error:
                if "InstanceMarketOptions" in request and error.response["Error"]["Code"] in _NO_SPOT:
                    return None
                raise
        return _machine_of(answer["Instances"][0])

    def tagged(self, tag: str, value: str = "") -> tuple[Machine, ...]:
        """Those that carry the tag, with that value unless it is ""; the newest first.

        EC2 forgets a machine about an hour after its end.
        """
        wanted = filters({f"tag:{tag}": value} if value else {"tag-key": tag})
        return self._found(f"machines with the tag {tag}", Filters=wanted)

    def machine(self, instance_id: str) -> Machine | None:
        """The one of that id; None where EC2 knows none, or not any more."""
        found = self._found(instance_id, Filters=filters({"instance-id": instance_id}))
        return found[0] if found else None

    def end(self, instance_id: str) -> None:
        """Have the machine shut down and removed; its processes get SIGTERM first."""
        with refusals(f"the end of {instance_id}"):
            self._client.terminate_instances(InstanceIds=[instance_id])

    def console(self, instance_id: str) -> str:
        """What the machine wrote to its console, as far as EC2 has it."""
        with refusals(f"the console of {instance_id}"):
            return str(self._client.get_console_output(InstanceId=instance_id).get("Output", ""))

    def _found(self, what: str, **wanted: Any) -> tuple[Machine, ...]:
        with refusals(what):
            pages = list(self._client.get_paginator("describe_instances").paginate(**wanted))
        found = [
            _machine_of(one)
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        ]
        return tuple(sorted(found, key=lambda machine: machine.launched_at, reverse=True))


def _machine_of(answer: Mapping[str, Any]) -> Machine:
    return Machine(
        instance_id=answer["InstanceId"],
        image_id=answer["ImageId"],
        kind=answer.get("InstanceType", ""),
        state=answer["State"]["Name"],
        spot=answer.get("InstanceLifecycle") == "spot",
        launched_at=answer["LaunchTime"],
        why=answer.get("StateReason", {}).get("Message") or answer.get("StateTransitionReason", ""),
        tags=tags_of(answer),
    )
