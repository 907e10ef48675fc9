"""The machine image as a disk of this machine's, decided before anything is made. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runbake.ami.plan import Subject, tunnels_to
from runbake.errors import AmiError, ConfigError
from runbake_serving.contract import VERSION

FORMATS = ("qcow2", "raw")
ACCELERATORS = ("kvm", "tcg")

_CPUS = {"kvm": "host", "tcg": "Haswell"}
"""NumPy's wheels want more than QEMU's default processor has."""
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_SMALLEST_MB = 1024
_MOST_CPUS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskOrder:
    """How a disk is to be baked: in what format, of what size, and with how much of this machine."""

    disk_format: str = "qcow2"
    volume_gb: int = 20
    ssh_user: str = "admin"
    memory_mb: int = 2048
    cpus: int = 2

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: lists everything that is wrong.
        """
        problems = []
        if self.disk_format not in FORMATS:
            problems.append(f"--format {self.disk_format[:60]!r} is none of {', '.join(FORMATS)}")
        if not _LOGIN.fullmatch(self.ssh_user):
            problems.append(f"--ssh-user {self.ssh_user[:60]!r} is not one")
        if self.memory_mb < _SMALLEST_MB:
            problems.append(f"--memory wants {_SMALLEST_MB} MB or more")
        if not 1 <= self.cpus <= _MOST_CPUS:
            problems.append(f"--cpus is none of 1 to {_MOST_CPUS}")
        if self.volume_gb < 1:
            problems.append("--volume wants 1 GB or more")
        if problems:
            raise ConfigError("no disk can be ordered so: " + "; ".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDisk:
    """The disk that the bake starts from, with a system that has cloud-init."""

    path: Path
    sha256: str
    disk_format: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """One bake of a disk."""

    order: DiskOrder
    subject: Subject
    source: SourceDisk
    accelerator: str

    @property
    def name(self) -> str:
        """The disk's file name: the same for the same image."""
        return f"runbake-{self.subject.digest.hex[:24]}.{self.order.disk_format}"

    def variables(self) -> dict[str, object]:
        """What Packer is told: digests, numbers and enumerated values."""
        order = self.order
        return {
            "accelerator": self.accelerator,
            "cpu": _CPUS[self.accelerator],
            "cpus": order.cpus,
            "memory_mb": order.memory_mb,
            "format": order.disk_format,
            "volume_gb": order.volume_gb,
            "source_sha256": self.source.sha256,
            "ssh_user": order.ssh_user,
            "image": self.subject.reference,
            "tunnels": tunnels_to(self.subject),
        }

    def to_json(self) -> dict[str, object]:
        """The plan as `--dry-run` prints it."""
        return {
            "schema": "https://runbake.dev/schema/disk-plan/v1",
            "tool": {"name": "runbake", "version": VERSION},
            "run": self.subject.run_id,
            "disk": self.name,
            "source": {"path": str(self.source.path), "sha256": self.source.sha256},
            "variables": self.variables(),
            "provenance": dict(self.subject.tags),
        }


def plan_disk(order: DiskOrder, subject: Subject, source: SourceDisk, *, accelerator: str) -> DiskPlan:
    """Decide on everything.

    Raises:
        AmiError: image and source do not fit each other; all that is wrong is listed.
    """
    found = []
    if subject.platform != "linux/amd64":
        found.append(f"it is for {subject.platform}, and disks are baked for linux/amd64")
    if source.disk_format not in FORMATS:
        found.append(f"{source.path} is of the format {source.disk_format}, not {' or '.join(FORMATS)}")
    if source.size_bytes > order.volume_gb << 30:
        found.append(f"--volume {order.volume_gb} is less than the {source.size_bytes / 2**30:.1f} GB of it")
    if found:
        raise AmiError(f"no disk can be made of {subject.reference}: {'; '.join(found)}")
    if accelerator not in ACCELERATORS:
        raise ValueError(f"no accelerator: {accelerator!r}")
    return DiskPlan(order=order, subject=subject, source=source, accelerator=accelerator)
