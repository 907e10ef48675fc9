"""How many CPUs this process may use: affinity and cgroup quota, not the host's number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def cpus_allowed(cgroup: Path = CGROUP_ROOT, own: Path = OWN_CGROUPS) -> float:
    """CPUs that the scheduler lets this process use; fractional under a quota, above 0.

    The smallest quota counts of those of our cgroup and all above it. In a container with a cgroup namespace
    ours is the root of what is mounted; without one, and in a systemd unit, it is further down.

    Source: Linux cgroup-v2.rst (cpu.max), sched-bwc.rst (cpu.cfs_quota_us), cgroups(7) (/proc/self/cgroup).
    """
    quotas = [quota for folder in _folders(cgroup, own) if (quota := _quota(folder)) is not None]
    return min([float(_affinity()), *quotas])


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folders(cgroup: Path, own: Path) -> Iterator[Path]:
    for root, name in ((cgroup, ""), (cgroup / "cpu", "cpu")):
        yield root
        path = _own_path(own, name)
        for above in (path, *path.parents):
            yield root / above


def _own_path(own: Path, controller: str) -> Path:
    """Our cgroup under the mount of this controller; "" is version 2."""
    for line in _read(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controller in controllers.split(","):
            return Path(path.lstrip("/"))
    return Path()


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if len(words) == 2:
        return _ratio(*words)
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    # "max" and "-1" say that there is no quota.
    if not quota.strip().isdigit() or not period.strip().isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period) or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""  # no such controller here
