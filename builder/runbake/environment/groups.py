"""Which wheels share a layer: big ones alone, the others in eight buckets that stay put."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from runbake.environment.lock import Lock, LockedWheel
from runbake.environment.tree import TREE_RULES
from runbake.environment.trim import TRIM_RULES
from runbake_serving import contract

ALONE_BYTES = 5_000_000
"""A wheel of at least this size (compressed, as the index gives it) has a layer of its own."""

BUCKETS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelGroup:
    """Wheels that make one layer; never empty.

    `name` is "wheels-0" to "wheels-7" for a bucket, or the package's name for a wheel alone.
    """

    name: str
    wheels: tuple[LockedWheel, ...]  # sorted by name


def plan_wheel_groups(lock: Lock) -> tuple[WheelGroup, ...]:
    """Every wheel in exactly one group, sorted by group name; a changed wheel changes its own group only.

    A wheel's bucket depends on its name alone. A wheel without a known size goes into a bucket.
    """
    groups: dict[str, list[LockedWheel]] = {}
    for wheel in lock.wheels:
        groups.setdefault(_group_of(wheel), []).append(wheel)
    return tuple(
        WheelGroup(name=name, wheels=tuple(sorted(groups[name], key=lambda wheel: wheel.name)))
        for name in sorted(groups)
    )


def recipe_of(group: WheelGroup, *, interpreter: str, bytecode: str, whole: bool = False) -> str:
    """64 hex digits over everything that the group's files depend on: a key for its finished layer.

    `interpreter` is what scripts start with; `bytecode` is `bytecode_id` of the base's Python, "" without; of
    `whole` wheels nothing is left out.
    """
    document = {
        "rules": TREE_RULES,
        "trim": "" if whole else TRIM_RULES,
        "root": contract.SITE_PACKAGES,
        "wheels": [[wheel.file_name, wheel.sha256] for wheel in group.wheels],
        "interpreter": interpreter,
        "bytecode": bytecode,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _group_of(wheel: LockedWheel) -> str:
    if wheel.size_bytes >= ALONE_BYTES:
        return wheel.name
    return f"wheels-{hashlib.sha256(wheel.name.encode()).digest()[0] % BUCKETS}"
