"""QEMU's own answers: whether a guest runs, and what a file is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab.packages import find_program
from runbake.ami import accelerator, computes, source_disk
from runbake.errors import AmiError, PackerMissing


def made(path: Path, *arguments: str) -> Path:
    """A disk of 64 MB by qemu-img."""
    command = (find_program("qemu-img") or "qemu-img", "create", "-q", "-f", "qcow2", *arguments)
    subprocess.run((*command, str(path), "64M"), check=True)
    return path


def test_the_guest_that_asks_runs_where_guests_run(tmp_path: Path) -> None:
    """Emulated it comes to its end; a program that is no hypervisor does not, whatever /dev/kvm says."""
    assert computes(find_program("qemu-system-x86_64") or "qemu-system-x86_64", "tcg")
    fake = tmp_path / "qemu-system-x86_64"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    assert not computes(str(fake), "kvm")
    assert accelerator({"PATH": str(tmp_path)}) == "tcg"


def test_a_disk_is_known_by_its_content(tmp_path: Path) -> None:
    """Format, size and digest; what is no whole disk, not there, or without QEMU is told."""
    disk = made(tmp_path / "a")
    found = source_disk(disk, os.environ)
    assert (found.disk_format, found.size_bytes, len(found.sha256)) == ("qcow2", 64 << 20, 64)

    changes = made(tmp_path / "b", "-b", str(disk), "-F", "qcow2")
    with pytest.raises(AmiError, match="only the changes"):
        source_disk(changes, os.environ)
    with pytest.raises(AmiError, match="cannot be read"):
        source_disk(tmp_path / "none", os.environ)
    with pytest.raises(PackerMissing, match="qemu-img"):
        source_disk(disk, {"PATH": str(tmp_path)})
