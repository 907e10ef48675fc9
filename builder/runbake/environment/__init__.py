"""The environment room: requirements become a lock, and a lock becomes the files of an image."""

from runbake.environment.bytecode import RemotePython, bytecode_id, compile_bytecode
from runbake.environment.compile import LockRequest, compile_extra, compile_lock, lock_key
from runbake.environment.groups import WheelGroup, plan_wheel_groups, recipe_of
from runbake.environment.install import install
from runbake.environment.lock import Lock, LockedWheel
from runbake.environment.platforms import uv_platform_of
from runbake.environment.tree import Installed, entries_of
from runbake.environment.uv import Uv, find_python, find_uv

__all__ = [
    "Installed",
    "Lock",
    "LockRequest",
    "LockedWheel",
    "RemotePython",
    "Uv",
    "WheelGroup",
    "bytecode_id",
    "compile_bytecode",
    "compile_extra",
    "compile_lock",
    "entries_of",
    "find_python",
    "find_uv",
    "install",
    "lock_key",
    "plan_wheel_groups",
    "recipe_of",
    "uv_platform_of",
]
