"""Debian packages that the lab needs, installed only where that is possible and only when missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.process import tail_of
from lab.story import Story

_INSTALL_DEADLINE_S = 600


def can_install() -> bool:
    """This is Debian or a relative, and we are root."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure_packages(wanted: dict[str, str], *, log: Path, story: Story) -> None:
    """Have every package of `wanted` (package name to a program it brings) by apt; nothing if all are there.

    Raises:
        LabError: it cannot be installed here, or apt failed.
    """
    missing = [package for package, program in wanted.items() if find_program(program) is None]
    if not missing:
        return
    if not can_install():
        raise LabError(
            f"missing: {', '.join(missing)}\n"
            "try: start Docker (docs.docker.com/get-docker), or as root on Debian or Ubuntu: "
            f"apt-get install {' '.join(missing)}"
        )
    with story.step("packages", f"apt-get install {' '.join(missing)}"):
        _apt(["update", "--quiet"], log)
        _apt(["install", "--yes", "--no-install-recommends", *missing], log)
    absent = [package for package in missing if find_program(wanted[package]) is None]
    if absent:
        raise LabError(f"installed, but its program is not there: {', '.join(absent)}\n{tail_of(log)}")


def find_program(name: str) -> str | None:
    """Its path; also in the administrator's directories, which PATH may leave out."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")


def _apt(arguments: Sequence[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as log_file:
        done = subprocess.run(
            ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            timeout=_INSTALL_DEADLINE_S,
            check=False,
        )
    if done.returncode != 0:
        raise LabError(f"apt-get {arguments[0]} failed ({done.returncode}):\n{tail_of(log)}")
