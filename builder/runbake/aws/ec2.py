"""Machine images and machines of Amazon EC2, in one region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbake.aws.clients import client_of
from runbake.aws.refusals import refusals
from runbake.errors import AwsError

_WAIT = {"Delay": 15, "MaxAttempts": 240}
"""An hour, as the templates give Packer."""

_END = {"Delay": 5, "MaxAttempts": 120}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImage:
    """An AMI as EC2 describes it; `snapshots` are those behind it."""

    image_id: str
    name: str
    state: str
    architecture: str
    root_device: str
    root_gb: int
    created_at: str
    tags: Mapping[str, str]
    snapshots: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestImage:
    """What is looked for where no AMI is named: the newest of an owner under a pattern of names."""

    owner: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """An instance, a volume or a security group, and its tags; `since` is None where EC2 does not say."""

    kind: str
    name: str
    tags: Mapping[str, str]
    since: datetime | None = None


class Ec2:
    """The API of EC2 in one region."""

    def __init__(self, region: str) -> None:
        """Make the client; "" is the region of AWS's own configuration.

        Raises:
            AwsError: boto3 is not installed, or no region is known.
        """
        self._client: Any = client_of("ec2", region)
        self.region = str(self._client.meta.region_name)

    def newest(self, wanted: NewestImage, architecture: str) -> MachineImage:
        """The newest available AMI of that owner and name.

        Raises:
            AwsError: there is none, or AWS refuses.
        """
        found = self._images(
            f"source images {wanted.name} of {wanted.owner}",
            Owners=[wanted.owner],
            Filters=filters(
                {
                    "name": wanted.name,
                    "state": "available",
                    "architecture": architecture,
                    "root-device-type": "ebs",
                }
            ),
        )
        if not found:
            raise AwsError(
                f"{self.region} has no image {wanted.name} of the owner {wanted.owner} for {architecture}",
                hint="name one with --source ami-…",
            )
        return max(found, key=lambda image: image.created_at)

    def image(self, image_id: str) -> MachineImage:
        """The AMI of that id.

        Raises:
            AwsError: there is none here, or AWS refuses.
        """
        found = self._images(f"the image {image_id}", ImageIds=[image_id])
        if not found:
            raise AwsError(f"{self.region} has no image {image_id}", hint="AMIs belong to one region")
        return found[0]

    def own_images(self, name: str) -> tuple[MachineImage, ...]:
        """This account's AMIs under a pattern of names, the newest first; failed ones are not among them."""
        found = self._images(
            f"images {name}",
            Owners=["self"],
            Filters=filters({"name": name}),
        )
        alive = (image for image in found if image.state in ("available", "pending"))
        return tuple(sorted(alive, key=lambda image: image.created_at, reverse=True))

    def wait_until_available(self, image_id: str) -> MachineImage:
        """The AMI once it can be used; waits for up to an hour.

        Raises:
            AwsError: it fails, or is still not there.
        """
        with refusals(f"the image {image_id}"):
            self._client.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig=_WAIT)
        return self.image(image_id)

    def tag(self, ids: Iterable[str], tags: Mapping[str, str]) -> None:
        """Set tags on every one of the ids."""
        with refusals(f"tags of {', '.join(ids)}"):
            self._client.create_tags(Resources=list(ids), Tags=pairs(tags))

    def require_imdsv2(self, image_id: str) -> None:
        """Machines from this AMI answer for their metadata by session token only."""
        with refusals(f"ImdsSupport of {image_id}"):
            self._client.modify_image_attribute(ImageId=image_id, ImdsSupport={"Value": "v2.0"})

    def deprecate(self, image_id: str, at: datetime) -> None:
        """The AMI is hidden from others' searches from then on; it still starts."""
        with refusals(f"deprecation of {image_id}"):
            self._client.enable_image_deprecation(ImageId=image_id, DeprecateAt=at)

    def copy(self, source: MachineImage, region: str, *, token: str) -> str:
        """Begin to copy an AMI from another region to this one, encrypted; the copy's id.

        The same `token` gives the same copy.
        """
        with refusals(f"copy of {source.image_id} to {self.region}"):
            answer = self._client.copy_image(
                Name=source.name,
                SourceImageId=source.image_id,
                SourceRegion=region,
                Encrypted=True,
                ClientToken=token,
            )
        return str(answer["ImageId"])

    def deregister(self, image: MachineImage) -> None:
        """Remove an AMI with its snapshots."""
        with refusals(f"removal of {image.image_id}"):
            self._client.deregister_image(ImageId=image.image_id)
            for snapshot in image.snapshots:
                self._client.delete_snapshot(SnapshotId=snapshot)

    def make_group(
        self, name: str, tags: Mapping[str, str], *, vpc: str, subnet: str, allow_from: Iterable[str]
    ) -> str:
        """A security group that lets SSH in from those networks only; its id. "" for the default VPC."""
        with refusals(f"the security group {name}"):
            if subnet and not vpc:
                vpc = self._client.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
            group = self._client.create_security_group(
                GroupName=name,
                Description="SSH to a build machine of runbake",
                TagSpecifications=[{"ResourceType": "security-group", "Tags": pairs(tags)}],
                **({"VpcId": vpc} if vpc else {}),
            )["GroupId"]
            v4, v6 = (
                [network for network in allow_from if (":" in network) == is_v6] for is_v6 in (False, True)
            )
            rule: dict[str, object] = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
            if v4:
                rule["IpRanges"] = [{"CidrIp": network} for network in v4]
            if v6:
                rule["Ipv6Ranges"] = [{"CidrIpv6": network} for network in v6]
            self._client.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        return str(group)

    def tagged(self, tag: str) -> tuple[Tagged, ...]:
        """What carries a tag: instances that are not terminated, volumes without one, security groups."""
        has_tag = filters({"tag-key": tag})
        states = ["pending", "running", "stopping", "stopped"]
        alive: dict[str, object] = {"Name": "instance-state-name", "Values": states}
        idle: dict[str, object] = {"Name": "status", "Values": ["available"]}
        with refusals(f"what carries the tag {tag}"):
            reservations = self._all("describe_instances", "Reservations", [*has_tag, alive])
            volumes = self._all("describe_volumes", "Volumes", [*has_tag, idle])
            groups = self._all("describe_security_groups", "SecurityGroups", has_tag)
        instances = [instance for reservation in reservations for instance in reservation["Instances"]]
        return (
            *(_tagged("instance", one, "InstanceId", one.get("LaunchTime")) for one in instances),
            *(_tagged("volume", one, "VolumeId", one.get("CreateTime")) for one in volumes),
            *(_tagged("group", one, "GroupId", None) for one in groups),
        )

    def remove(self, what: Tagged) -> None:
        """Remove it; of an instance, wait until it is gone."""
        with refusals(f"removal of the {what.kind} {what.name}"):
            if what.kind == "instance":
                self._client.terminate_instances(InstanceIds=[what.name])
                waiter = self._client.get_waiter("instance_terminated")
                waiter.wait(InstanceIds=[what.name], WaiterConfig=_END)
            elif what.kind == "volume":
                self._client.delete_volume(VolumeId=what.name)
            else:
                self._client.delete_security_group(GroupId=what.name)

    def remove_key(self, name: str) -> bool:
        """Whether there was a key pair of that name; it is gone now."""
        with refusals(f"the key pair {name}"):
            wanted = filters({"key-name": name})
            if not self._client.describe_key_pairs(Filters=wanted)["KeyPairs"]:
                return False
            self._client.delete_key_pair(KeyName=name)
            return True

    def _all(self, call: str, key: str, filters: list[dict[str, object]]) -> list[dict[str, Any]]:
        pages = self._client.get_paginator(call).paginate(Filters=filters)
        return [one for page in pages for one in page[key]]

    def _images(self, what: str, **wanted: object) -> list[MachineImage]:
        with refusals(what):
            pages = self._client.get_paginator("describe_images").paginate(**wanted)
            return [_image_of(image) for page in pages for image in page["Images"]]


def filters(values: Mapping[str, str]) -> list[dict[str, object]]:
    return [{"Name": name, "Values": [value]} for name, value in values.items()]


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def tags_of(answer: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in answer.get("Tags", ())}


def _tagged(kind: str, answer: Mapping[str, Any], key: str, since: datetime | None) -> Tagged:
    return Tagged(kind=kind, name=answer[key], tags=tags_of(answer), since=since)


def _image_of(answer: Mapping[str, Any]) -> MachineImage:
    mapped = [disk for disk in answer.get("BlockDeviceMappings", ()) if "Ebs" in disk]
    disks = [{"at": disk["DeviceName"], **disk["Ebs"]} for disk in mapped]
    root = answer.get("RootDeviceName") or "/dev/xvda"
    return MachineImage(
        image_id=answer["ImageId"],
        name=answer.get("Name", ""),
        state=answer["State"],
        architecture=answer.get("Architecture", ""),
        root_device=root,
        root_gb=next((disk.get("VolumeSize", 0) for disk in disks if disk["at"] == root), 0),
        created_at=answer.get("CreationDate", ""),
        tags=tags_of(answer),
        snapshots=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
    )
