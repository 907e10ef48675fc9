"""A disk as clouds have them: Debian 12 with cloud-init and a container engine, that boots.

Made from packages in about two minutes, without loop devices or mounts, and kept.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.packages import ensure_packages, find_program
from lab.process import tail_of
from lab.source import PACKAGES as MMDEBSTRAP
from lab.source import debootstrap
from lab.state import LAB_DIRECTORY
from lab.story import Story

USER = "admin"
PACKAGES = {
    **MMDEBSTRAP,
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "syslinux": "syslinux",
    "mtools": "mcopy",
    "dosfstools": "mkfs.vfat",
    "fdisk": "sfdisk",
    "e2fsprogs": "mke2fs",
    "openssh-client": "ssh-keygen",
    "socat": "socat",
}
_SECTOR = 512
_SIZE_BYTES = 3 << 30
_BOOT_AT, _ROOT_AT = 2048, 133120
_MBR = Path("/usr/lib/SYSLINUX/mbr.bin")
_INCLUDED = (
    *("linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "udev", "dbus", "kmod", "procps"),
    *("openssh-server", "sudo", "cloud-init", "cloud-guest-utils", "fdisk", "e2fsprogs", "iproute2"),
    # docker.io only recommends the first two, and no container starts without them.
    *("apparmor", "iptables", "docker.io", "isc-dhcp-client", "systemd-resolved", "curl"),
)
_FILES = {
    "etc/fstab": "LABEL=root / ext4 defaults 0 1\n",
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost machine\n",
    f"etc/sudoers.d/90-{USER}": f"{USER} ALL=(ALL) NOPASSWD:ALL\n",
    "etc/systemd/network/20-wired.network": "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
    "etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [NoCloud, Ec2, None]\n",
    "etc/cloud/cloud.cfg.d/99-lab.cfg": (
        "network: {config: disabled}\n"
        "locale: false\n"
        "apt: {preserve_sources_list: true}\n"
        f"system_info: {{default_user: {{name: {USER}, lock_passwd: true, shell: /bin/bash, "
        'sudo: ["ALL=(ALL) NOPASSWD:ALL"]}}\n'
        # The others cost half a minute on an emulated machine.
        "cloud_init_modules: [seed_random, growpart, resizefs, set_hostname, users-groups, ssh]\n"
        "cloud_config_modules: []\n"
        "cloud_final_modules: [ssh-authkey-fingerprints, final-message]\n"
    ),
}
_BOOT = """DEFAULT linux
PROMPT 0
TIMEOUT 1
LABEL linux
  KERNEL vmlinuz
  INITRD initrd
  APPEND root=LABEL=root ro console=ttyS0,115200n8 net.ifnames=0 mitigations=off quiet
"""
_SETTLED = (
    f'chroot "$1" useradd --create-home --shell /bin/bash {USER}',
    'chroot "$1" systemctl enable systemd-networkd',
    'chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service',
    'rm -f "$1"/etc/ssh/ssh_host_* "$1"/var/cache/apt/archives/*.deb',
)


def cloud_disk(*, story: Story) -> Path:
    """The disk, a qcow2; made where it is missing.

    Raises:
        LabError: it cannot be made here.
    """
    recipe = repr((_INCLUDED, sorted(_FILES.items()), _BOOT, _SETTLED, _SIZE_BYTES))
    disk = LAB_DIRECTORY / "disks" / f"debian-12-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}.qcow2"
    ensure_packages(PACKAGES, log=LAB_DIRECTORY / "apt.log", story=story)
    if not disk.exists():
        disk.parent.mkdir(parents=True, exist_ok=True)
        with (
            story.step("disk", f"make {disk.name} from packages"),
            tempfile.TemporaryDirectory(dir=disk.parent) as directory,
        ):
            os.replace(_made(Path(directory)), disk)
    return disk


def _made(directory: Path) -> Path:
    root, raw, boot, disk = (directory / name for name in ("root", "raw", "boot", "disk.qcow2"))
    settled = directory / "settled"
    for name, text in _FILES.items():
        path = settled / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    hooks = [f"--customize-hook={hook}" for hook in (f'cp -r {settled}/. "$1"', *_SETTLED)]
    debootstrap(root, "bookworm", f"--include={','.join(_INCLUDED)}", "--format=directory", *hooks)
    log = directory / "log"
    for path, size in ((raw, _SIZE_BYTES), (boot, (_ROOT_AT - _BOOT_AT) * _SECTOR)):
        with path.open("wb") as file:
            file.truncate(size)
    first = f"start={_BOOT_AT}, size={_ROOT_AT - _BOOT_AT}, type=c, bootable"
    _run(("sfdisk", "--quiet", str(raw)), log, given=f"label: dos\n{first}\nstart={_ROOT_AT}, type=83\n")
    _run(("mkfs.vfat", "-F", "32", "-s", "1", "-n", "BOOT", str(boot)), log)
    (directory / "syslinux.cfg").write_text(_BOOT)
    for source, name in (
        (directory / "syslinux.cfg", "syslinux.cfg"),
        (next((root / "boot").glob("vmlinuz-*")), "vmlinuz"),
        (next((root / "boot").glob("initrd.img-*")), "initrd"),
    ):
        _run(("mcopy", "-i", str(boot), str(source), f"::{name}"), log)
    _run(("syslinux", "--install", str(boot)), log)
    _run(("dd", f"if={boot}", f"of={raw}", f"bs={_SECTOR}", f"seek={_BOOT_AT}", "conv=notrunc,sparse"), log)
    blocks = f"{(_SIZE_BYTES - _ROOT_AT * _SECTOR) >> 10}k"
    made = ("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root))
    _run((*made, "-E", f"offset={_ROOT_AT * _SECTOR}", str(raw), blocks), log)
    with raw.open("r+b") as file:
        file.write(_MBR.read_bytes()[:440])
    _run(("qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)), log)
    return disk


def _run(command: tuple[str, ...], log: Path, given: str = "") -> None:
    program = find_program(command[0]) or command[0]
    with log.open("ab") as out:
        done = subprocess.run(
            (program, *command[1:]), input=given.encode(), stdout=out, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        raise LabError(f"{command[0]} failed ({done.returncode}):\n{tail_of(log)}")
