"""What Dockerfile.base starts from: a hub's image, or where none is reachable, Debian from its packages."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from lab.errors import LabError
from lab.packages import ensure_packages, find_program
from lab.state import LAB_DIRECTORY
from lab.story import Story
from runbake.runtime import source_for

MADE_REPOSITORY = "runbake-lab/debian"
PACKAGES = {"mmdebstrap": "mmdebstrap"}
INCLUDED = ("usr-is-merged", "python3", "busybox", "libgomp1", "libstdc++6", "ca-certificates", "tzdata")
_RECIPE = hashlib.sha256(",".join(INCLUDED).encode()).hexdigest()[:8]
"""So that an image made with other packages is not taken for this one."""
OWN_PYTHON = f"3.{sys.version_info.minor}"
_SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""Debian's releases by their Python; another is made from this machine's own release."""
_DEADLINE_S = 600
_HOOKS = "/usr/share/mmdebstrap/hooks/merged-usr"
_APT_SOURCES = ("sources.list.d/debian.sources", "sources.list.d/ubuntu.sources", "sources.list")


def source_image(client: docker.DockerClient, *, python: str = OWN_PYTHON, story: Story) -> str:
    """A Debian-like image in the engine, named; the one that is there, else pulled, else made from packages.

    `python` is the minor version that it has, e.g. "3.13".

    Raises:
        LabError: it cannot be pulled, and cannot be made here either.
    """
    pulled, suite = source_for(python), _SUITES.get(python) or _codename()
    made = f"{MADE_REPOSITORY}:{suite}-{_RECIPE}"
    for name in (made, pulled):
        if _is_there(client, name):
            return name
    if _pull(client, pulled, story):
        return pulled
    _make(client, made, suite, story)
    return made


def _is_there(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _pull(client: docker.DockerClient, name: str, story: Story) -> bool:
    try:
        client.images.pull(name)
    except APIError:
        story.note("base", f"{name} cannot be pulled here")
        return False
    return True


def _codename() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "none")
    except OSError:
        return "none"


def _make(client: docker.DockerClient, name: str, suite: str, story: Story) -> None:
    ensure_packages(PACKAGES, log=LAB_DIRECTORY / "apt.log", story=story)
    with story.step("base", f"make {name} from packages"), tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "root.tar"
        debootstrap(archive, suite)
        repository, _, tag = name.rpartition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)


def debootstrap(archive: Path, suite: str, *options: str) -> None:
    """Write a minimal system of that suite to `archive`, from this machine's own package sources.

    This machine's apt installs the packages, by its mirrors and certificates; none of that stays in it.

    Raises:
        LabError: mmdebstrap failed; the message ends with its output.
    """
    done = subprocess.run(
        [
            find_program("mmdebstrap") or "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(INCLUDED)}",
            f"--hook-dir={_HOOKS}",
            *(f"--dpkgopt=path-exclude=/usr/share/{path}/*" for path in ("man", "locale", "doc", "info")),
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            '--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
            *options,
            suite,
            str(archive),
            *_package_sources(suite),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_DEADLINE_S,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"mmdebstrap failed ({done.returncode}):\n{done.stderr[-4000:]}")


def _package_sources(suite: str) -> tuple[str, ...]:
    """This machine's list of mirrors; empty lets mmdebstrap take the suite's own."""
    if suite != _codename():
        return ()
    candidates = (Path("/etc/apt") / name for name in _APT_SOURCES)
    found = [str(path) for path in candidates if path.is_file() and path.stat().st_size]
    return tuple(found[:1])
