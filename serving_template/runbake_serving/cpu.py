"""How many CPUs this process may use: affinity and cgroup quota, not the host's number."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def cpus_allowed(cgroup: Path = CGROUP_ROOT) -> float:
    """CPUs that the scheduler lets this process use; fractional under a quota, above 0.

    Source: Linux cgroup-v2.rst (cpu.max) and sched-bwc.rst (cpu.cfs_quota_us).
    """
    quota = _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")
    cpus = float(_affinity())
    return min(cpus, quota) if quota else cpus


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota_v2(path: Path) -> float | None:
    words = _read(path).split()
    return _ratio(*words) if len(words) == 2 else None


def _quota_v1(folder: Path) -> float | None:
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
