"""What will be baked, of what, as what: decided before anything is made. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runbake.ami.order import Order
from runbake.aws import MachineImage
from runbake.errors import AmiError
from runbake.image import Digest
from runbake.registry import is_loopback
from runbake_serving.contract import VERSION

TAG_BAKE = "runbake.bake"
"""Everything that a bake makes carries it, with the bake's id."""
TAG_STATE = "runbake.bake.state"
"""`done` on an AMI that has every tag; it is set last."""
TAG_BEGAN = "runbake.bake.began"
"""On the bake's security group, which is made first and removed last: when the bake began."""
TAG_IMAGE = "runbake.image"
TAG_DIGEST = "runbake.image.digest"
DONE = "done"

_REPOSITORY = re.compile(r"[A-Za-z0-9.:-]+/[a-z0-9._/-]+")
_BAKE = re.compile(r"[0-9a-f]{12}")
_PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The container image that goes onto the machine: one platform of it, by digest.

    `tags` are the provenance keys for EC2, text of MLflow's: Packer never sees them.
    """

    repository: str
    digest: Digest
    platform: str
    run_id: str
    tags: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def reference(self) -> str:
        """`HOST/NAME@sha256:…`."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One bake; `bake_id` makes everything of it findable."""

    bake_id: str
    order: Order
    subject: Subject
    source: MachineImage

    @property
    def name(self) -> str:
        """The AMI's name: unique, and searchable before there are tags."""
        return f"{name_prefix(self.subject.digest)}{self.bake_id}"

    @property
    def own_name(self) -> str:
        """What the bake's security group and key pair are called."""
        return f"runbake-{self.bake_id}"

    def variables(self) -> dict[str, object]:
        """What Packer is told, but for the security group: digests, ids and enumerated values."""
        order = self.order
        return {
            "region": order.region,
            "endpoint": order.endpoint,
            "instance_type": order.instance_type,
            "source_ami": self.source.image_id,
            "root_device": self.source.root_device,
            "volume_gb": order.volume_gb,
            "kms_key": order.kms_key,
            "ssh_user": order.login,
            "vpc": order.vpc,
            "subnet": order.subnet,
            "instance_profile": order.instance_profile,
            "accounts": list(order.accounts),
            "image": self.subject.reference,
            "image_digest": str(self.subject.digest),
            "ami_name": self.name,
            "bake_id": self.bake_id,
            "tunnels": tunnels_to(self.subject),
        }

    def tags(self) -> dict[str, str]:
        """What the AMI and its snapshots carry in the end, beside `TAG_STATE`."""
        return {
            **dict(self.subject.tags),
            TAG_IMAGE: self.subject.reference[:256],
            TAG_DIGEST: str(self.subject.digest),
            TAG_BAKE: self.bake_id,
        }

    def to_json(self) -> dict[str, object]:
        """The plan as `--dry-run` prints it."""
        return {
            "schema": "https://runbake.dev/schema/ami-plan/v1",
            "tool": {"name": "runbake", "version": VERSION},
            "run": self.subject.run_id,
            "source": {"id": self.source.image_id, "name": self.source.name},
            "variables": self.variables(),
            "tags": self.tags(),
        }


def tunnels_to(subject: Subject) -> list[str]:
    """How the build machine reaches a registry of this machine: through the connection that Packer has."""
    host = subject.repository.partition("/")[0]
    port = host.rpartition(":")[2] if ":" in host else "80"
    return [f"{port}:127.0.0.1:{port}"] if is_loopback(host) else []


def bake_of(name: str) -> str:
    """The bake's id in an AMI's name; "" where it is not one of ours."""
    bake_id = name.rpartition("-")[2]
    return bake_id if name.startswith("runbake-") and _BAKE.fullmatch(bake_id) else ""


def name_prefix(digest: Digest) -> str:
    """How the names of all AMIs of an image begin."""
    return f"runbake-{digest.hex[:24]}-"


def plan_ami(order: Order, subject: Subject, source: MachineImage, *, bake_id: str) -> Plan:
    """Decide on everything.

    Raises:
        AmiError: image, source and instance type do not fit each other; all that is wrong is listed.
    """
    problems = _misfits(order, subject, source)
    if problems:
        raise AmiError(
            f"no machine image can be made of {subject.reference}: {'; '.join(problems)}", hint=_hint(subject)
        )
    if not _BAKE.fullmatch(bake_id):
        raise ValueError(f"no bake id: {bake_id!r}")
    return Plan(bake_id=bake_id, order=order, subject=subject, source=source)


def _misfits(order: Order, subject: Subject, source: MachineImage) -> list[str]:
    found = []
    if _PLATFORMS.get(subject.platform) != order.architecture:
        found.append(f"it is for {subject.platform}, {order.instance_type} is {order.architecture}")
    if source.architecture and source.architecture != order.architecture:
        found.append(f"{source.image_id} is for {source.architecture}, {order.instance_type} is not")
    if source.root_gb > order.volume_gb:
        found.append(f"--volume {order.volume_gb} is less than the {source.root_gb} GB of {source.image_id}")
    if not _REPOSITORY.fullmatch(subject.repository):
        found.append(f"the machine cannot pull from {subject.repository}")
    return found


def _hint(subject: Subject) -> str:
    kind = "m7g.large" if subject.platform == "linux/arm64" else "m5.large"
    return f"--instance-type {kind} is for {subject.platform}; --volume takes gigabytes"
