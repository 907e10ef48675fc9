"""The one door to QEMU beside Packer's: what it needs is there, and KVM is asked whether it computes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runbake.ami.disk import SourceDisk
from runbake.errors import AmiError, PackerMissing

_QEMU, _IMG = "qemu-system-x86_64", "qemu-img"
_INSTALL = "install it: apt-get install qemu-system-x86 qemu-utils"
_PROBE_S = 10
_INFO_S = 60
_EXIT = 0x2A << 1 | 1
"""What QEMU ends with when a guest writes 0x2a to isa-debug-exit."""
_PROBE = bytes.fromhex(
    # cli; xorw %ax,%ax; movw %ax,%ds; lgdtl gdtr
    "fa31c08ed8660f0116587c"
    # movl %cr0,%eax; orb $1,%al; movl %eax,%cr0; ljmpl $8,$prot: now in protected mode
    "0f20c00c010f22c066ea1b7c00000800"
    # movw $16,%ax; movw %ax,%ds; movw %ax,%ss; movl $0x7c00,%esp
    "66b810008ed88ed0bc007c0000"
    # pushfl; pushl %cs; pushl $back; iretl: kernels do it, and some KVMs cannot
    "9c0e68307c0000cf"
    # back: movb $0x2a,%al; movw $0xf4,%dx; outb %al,%dx; 1: hlt; jmp 1b
    "b02a66baf400eef4ebfd8db600000000"
    # the descriptors: none, code, data; and where they are
    "0000000000000000ffff0000009acf00ffff00000092cf001700407c0000"
)


def accelerator(environment: Mapping[str, str]) -> str:
    """ "kvm" where a guest really runs by it, else "tcg": a /dev/kvm can be there and fail every system.

    Raises:
        PackerMissing: QEMU is not installed.
    """
    program = _found(_QEMU, environment)
    return "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) and computes(program, "kvm") else "tcg"


def computes(program: str, by: str) -> bool:
    """Whether a guest of a few instructions comes to its end in that QEMU, by "kvm" or "tcg"."""
    with tempfile.NamedTemporaryFile(prefix="runbake-probe-") as disk:
        disk.write(_PROBE.ljust(510, b"\0") + b"\x55\xaa")
        disk.flush()
        command = (program, "-accel", by, "-m", "32", "-nodefaults", "-display", "none", "-no-reboot")
        devices = ("-device", "isa-debug-exit,iobase=0xf4,iosize=1")
        try:
            done = subprocess.run(
                (*command, *devices, "-drive", f"file={disk.name},format=raw,if=ide"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == _EXIT


def source_disk(path: Path, environment: Mapping[str, str]) -> SourceDisk:
    """The disk at `path` as it is now, read once.

    Raises:
        PackerMissing: QEMU's tools are not installed.
        AmiError: it cannot be read, is no disk, or is only the changes to another one.
    """
    program = _found(_IMG, environment)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AmiError(f"{path} cannot be read: {error.strerror}", hint="--source-disk FILE") from error
    done = subprocess.run(
        (program, "info", "--output=json", f"{path.resolve()}"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_INFO_S,
        check=False,
    )
    if done.returncode != 0:
        raise AmiError(f"{path} is no disk: {done.stderr.strip()[-300:]}", hint="--source-disk FILE")
    told = json.loads(done.stdout)
    if "backing-filename" in told:
        raise AmiError(
            f"{path} holds only the changes to {str(told['backing-filename'])[:200]}",
            hint=f"qemu-img convert -O qcow2 {path.name} whole.qcow2",
        )
    return SourceDisk(
        path=path, sha256=digest, disk_format=str(told["format"]), size_bytes=int(told["virtual-size"])
    )


def _found(name: str, environment: Mapping[str, str]) -> str:
    program = shutil.which(name, path=environment.get("PATH", os.defpath))
    if program is None:
        raise PackerMissing(f"{name} is not installed, and Packer needs it for a disk", hint=_INSTALL)
    return program
