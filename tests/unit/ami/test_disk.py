"""What goes onto a disk, decided before anything is made; nothing of MLflow's is among it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbake.ami import DiskOrder, DiskPlan, SourceDisk, plan_disk, write_disk_workdir
from runbake.errors import AmiError, ConfigError
from tests.unit.ami.test_plan import DIGEST, subject


def disk_plan(path: Path, **given: Any) -> DiskPlan:
    source = SourceDisk(path=path, sha256="0" * 64, disk_format="qcow2", size_bytes=3 << 30)
    return plan_disk(DiskOrder(**given), subject(), source, accelerator="tcg")


def test_nothing_of_mlflows_and_no_path_is_among_the_variables(tmp_path: Path) -> None:
    """A hostile run name is in the provenance, and a path that Packer would evaluate is behind a link."""
    source = tmp_path / "{{ env `HOME` }},x.qcow2"
    source.write_bytes(b"disk")
    directory = tmp_path / "work"
    directory.mkdir()
    made = disk_plan(source)
    write_disk_workdir(directory, made, "legacy")

    assert "HOME" in json.dumps(made.to_json()["provenance"])
    for path in (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()):
        assert "HOME" not in path.read_text(), path
    assert (directory / "source.img").read_bytes() == b"disk"
    assert not list(directory.glob("plugins*"))
    assert made.name == f"runbake-{DIGEST.hex[:24]}.qcow2"


def test_a_newer_packer_is_told_of_its_plugin(tmp_path: Path) -> None:
    """Packer 1.6 refuses the very block that later ones need."""
    write_disk_workdir(tmp_path, disk_plan(tmp_path), "current")

    assert "required_plugins" in (tmp_path / "plugins.pkr.hcl").read_text()


def test_what_does_not_fit_is_told_at_once() -> None:
    """Every problem of an order, and of image and source, in one message."""
    with pytest.raises(ConfigError, match=r"--format.*--ssh-user.*--memory.*--cpus.*--volume"):
        DiskOrder(disk_format="vmdk", ssh_user="{{x}}", memory_mb=1, cpus=0, volume_gb=0)
    source = SourceDisk(path=Path("x"), sha256="0" * 64, disk_format="vmdk", size_bytes=3 << 30)
    with pytest.raises(AmiError, match=r"linux/arm64.*vmdk.*--volume 2"):
        plan_disk(DiskOrder(volume_gb=2), subject(platform="linux/arm64"), source, accelerator="tcg")
