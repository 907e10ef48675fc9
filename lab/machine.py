"""A machine without a kernel: Debian with sshd and systemd's files, for the tests of machine images."""

from __future__ import annotations

import tempfile
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from lab.packages import ensure_packages
from lab.source import PACKAGES, debootstrap
from lab.state import LAB_DIRECTORY
from lab.story import Story

IMAGE = "runbake-lab/machine:bookworm-1"
USER = "admin"
_INCLUDED = "openssh-server,sudo,systemd"
_CUSTOMIZED = (
    f'chroot "$1" useradd --create-home --shell /bin/bash {USER}',
    f"echo '{USER} ALL=(ALL) NOPASSWD:ALL' >\"$1/etc/sudoers.d/90-{USER}\"",
    'mkdir -p "$1/run/sshd"',
)


def machine_image(client: docker.DockerClient, *, story: Story) -> str:
    """The image in the engine; made from packages once.

    Raises:
        LabError: it cannot be made here.
    """
    try:
        client.images.get(IMAGE)
    except ImageNotFound:
        ensure_packages(PACKAGES, log=LAB_DIRECTORY / "apt.log", story=story)
        with story.step("machine", f"make {IMAGE}"), tempfile.TemporaryDirectory() as directory:
            archive = Path(directory) / "root.tar"
            hooks = (f"--customize-hook={hook}" for hook in _CUSTOMIZED)
            debootstrap(archive, "bookworm", f"--include={_INCLUDED}", *hooks)
            repository, _, tag = IMAGE.partition(":")
            client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    return IMAGE
