"""An image becomes an Amazon machine image: a plan of enumerated values, and Packer, which carries it out."""

from runbake.ami.bake import Baked, Hands, bake
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
from runbake.ami.workdir import static_files, write_workdir

__all__ = [
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
