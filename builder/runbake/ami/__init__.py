"""An image becomes a machine image, Amazon's or a disk, by Packer from a plan of enumerated values."""

from runbake.ami.bake import Baked, Hands, bake
from runbake.ami.bake_disk import Disk, DiskHands, bake_disk, make_key
from runbake.ami.disk import ACCELERATORS, FORMATS, DiskOrder, DiskPlan, SourceDisk, plan_disk
from runbake.ami.hypervisor import accelerator, computes, source_disk
from runbake.ami.order import SOURCES, Order, architecture_of
from runbake.ami.packer import Packer, find_packer
from runbake.ami.plan import (
    DONE,
    TAG_BAKE,
    TAG_DIGEST,
    TAG_IMAGE,
    TAG_STATE,
    Plan,
    Subject,
    name_prefix,
    plan_ami,
)
from runbake.ami.reap import Leaving, leavings, reap
from runbake.ami.workdir import static_files, write_disk_workdir, write_workdir

__all__ = [
    "ACCELERATORS",
    "FORMATS",
    "Disk",
    "DiskHands",
    "DiskOrder",
    "DiskPlan",
    "SourceDisk",
    "accelerator",
    "bake_disk",
    "computes",
    "make_key",
    "plan_disk",
    "source_disk",
    "write_disk_workdir",
    "DONE",
    "SOURCES",
    "TAG_BAKE",
    "TAG_DIGEST",
    "TAG_IMAGE",
    "TAG_STATE",
    "Baked",
    "Hands",
    "Leaving",
    "Order",
    "Packer",
    "Plan",
    "Subject",
    "architecture_of",
    "bake",
    "find_packer",
    "leavings",
    "name_prefix",
    "plan_ami",
    "reap",
    "static_files",
    "write_workdir",
]
