"""What the user asked for, each value of an enumerated shape: Packer evaluates `{{ … }}` in many of them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from runbake.aws import NewestImage
from runbake.errors import ConfigError

SOURCES = {
    "debian-12": (NewestImage(owner="136693071363", name="debian-12-*"), "admin"),
    "amazon-linux-2023": (NewestImage(owner="137112412989", name="al2023-ami-2023.*"), "ec2-user"),
}
"""Debian's and Amazon's own images by name, and the user that logs in."""

_SHAPES = {
    "region": r"[a-z]{2}(?:-[a-z]+){1,3}-\d{1,2}",
    "instance_type": r"[a-z][a-z0-9-]*\.[a-z0-9-]+",
    "source": rf"{'|'.join(map(re.escape, SOURCES))}|ami-[0-9a-f]{{8,17}}",
    "ssh_user": r"(?:[a-z_][a-z0-9_-]{0,31})?",
    "vpc": r"(?:vpc-[0-9a-f]{8,17})?",
    "subnet": r"(?:subnet-[0-9a-f]{8,17})?",
    "instance_profile": r"[A-Za-z0-9+=,.@_-]{0,128}",
    "kms_key": r"[A-Za-z0-9:/_-]{0,256}",
    "endpoint": r"(?:https?://[A-Za-z0-9.:/_-]{1,200})?",
}
_FAMILY = re.compile(r"(?P<family>[a-z-]+?)(?P<generation>\d+)(?P<attributes>[a-z]*)[.-]")
_SMALLEST_GB = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How an AMI is to be baked.

    `source` is a name in `SOURCES` or an AMI's id; `allow_from` are the networks from which the build machine
    is reached by SSH; `copy_to` are further regions, `accounts` those that it is shared with; `endpoint` is
    the URL of another EC2. "" is AWS's default.
    """

    region: str
    instance_type: str
    allow_from: tuple[str, ...]
    source: str = "debian-12"
    ssh_user: str = ""
    vpc: str = ""
    subnet: str = ""
    instance_profile: str = ""
    kms_key: str = ""
    volume_gb: int = 20
    accounts: tuple[str, ...] = ()
    copy_to: tuple[str, ...] = ()
    endpoint: str = ""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: lists everything that is wrong.
        """
        problems = [*_misshapen(self), *_contradictions(self)]
        if problems:
            raise ConfigError("no machine image can be ordered so: " + "; ".join(problems))

    @property
    def architecture(self) -> str:
        """What the instance type computes with, in EC2's words: "x86_64" or "arm64"."""
        return architecture_of(self.instance_type)

    @property
    def platform(self) -> str:
        """The same in a container image's words."""
        return "linux/arm64" if self.architecture == "arm64" else "linux/amd64"

    @property
    def login(self) -> str:
        """The user that logs in to the build machine."""
        return self.ssh_user or (SOURCES[self.source][1] if self.source in SOURCES else "admin")


def architecture_of(instance_type: str) -> str:
    """ "arm64" for Graviton, whose families have a `g` after the generation, else "x86_64".

    Source: Amazon EC2 instance types, "Naming conventions": the first attribute is the processor family.
    """
    family = _FAMILY.match(instance_type)
    if family is None:
        return "x86_64"
    return "arm64" if family["family"] == "a" or family["attributes"].startswith("g") else "x86_64"


def _misshapen(order: Order) -> list[str]:
    found = [
        f"--{name.replace('_', '-')} {getattr(order, name)[:60]!r}"
        for name, shape in _SHAPES.items()
        if not re.fullmatch(shape, getattr(order, name))
    ]
    found += [f"--copy-to {one[:60]!r}" for one in order.copy_to if not re.fullmatch(_SHAPES["region"], one)]
    found += [f"--share-with {one[:60]!r}" for one in order.accounts if not re.fullmatch(r"[0-9]{12}", one)]
    found += [f"--allow-from {one[:60]!r}" for one in order.allow_from if not _is_network(one)]
    return [f"{one} is not one" for one in found]


def _contradictions(order: Order) -> list[str]:
    found = []
    if not order.allow_from:
        found.append("--allow-from is missing: the address of this machine as the build machine sees it")
    if order.region in order.copy_to:
        found.append(f"--copy-to {order.region} is where it is baked")
    if order.volume_gb < _SMALLEST_GB:
        found.append(f"--volume wants {_SMALLEST_GB} GB or more")
    if order.accounts and not order.kms_key:
        found.append("--share-with wants --kms-key: nobody else can read a disk under AWS's own key")
    if order.accounts and order.copy_to:
        found.append("--share-with goes without --copy-to: copies are encrypted under AWS's own key")
    return found


def _is_network(text: str) -> bool:
    if "/" not in text:
        return False
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
