"""Packer itself takes our templates; one that is missing, another program or too old is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab.packages import find_program
from lab.packer import PACKAGES
from runbake.ami import Packer, find_packer, make_key, write_disk_workdir, write_workdir
from runbake.errors import BakeFailed, PackerMissing
from tests.unit.ami.test_disk import disk_plan
from tests.unit.ami.test_plan import plan


@pytest.fixture
def packer() -> Packer:
    """The real one."""
    assert find_program(PACKAGES["packer"]), "packer is missing: python -m lab setup-tests"
    return find_packer(os.environ)


def test_packer_takes_the_templates_and_every_variable(tmp_path: Path, packer: Packer) -> None:
    """With all that can be ordered; AWS is not asked, and an unknown or missing variable is an error."""
    everything = plan(
        ssh_user="admin",
        vpc="vpc-01234567",
        subnet="subnet-01234567",
        instance_profile="bake",
        kms_key="alias/bake",
        accounts=("123456789012",),
    )
    write_workdir(tmp_path, everything, "legacy")
    said: list[str] = []

    packer.validate(tmp_path, said.append)

    assert not [line for line in said if "arning" in line]
    variables = tmp_path / "runbake.auto.pkrvars.json"
    variables.write_text(json.dumps({**everything.variables(), "region": None, "volume_gb": "many"}))
    with pytest.raises(BakeFailed, match=r"volume_gb|number"):
        packer.validate(tmp_path, said.append)


def test_packer_takes_the_template_of_a_disk(tmp_path: Path, packer: Packer) -> None:
    """In both formats; what is missing or no number is an error."""
    (tmp_path / "source").write_bytes(b"")
    for disk_format in ("qcow2", "raw"):
        directory = tmp_path / disk_format
        directory.mkdir()
        write_disk_workdir(directory, disk_plan(tmp_path / "source", disk_format=disk_format), "legacy")
        make_key(directory)

        packer.validate(directory, lambda _: None)

    variables = json.loads((directory / "runbake.auto.pkrvars.json").read_text())
    (directory / "runbake.auto.pkrvars.json").write_text(json.dumps({**variables, "memory_mb": "much"}))
    with pytest.raises(BakeFailed, match=r"memory_mb|number"):
        packer.validate(directory, lambda _: None)


def program(directory: Path, body: str) -> dict[str, str]:
    path = directory / "packer"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return {"PATH": str(directory)}


def test_a_packer_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """None at all, cracklib's program, an old one: each with how to get one."""
    cases = {
        "not installed": {"PATH": str(tmp_path / "nowhere")},
        "not HashiCorp's": program(tmp_path, "echo 0 0"),
    }
    for told, environment in cases.items():
        with pytest.raises(PackerMissing, match=told) as caught:
            find_packer(environment)
        assert "apt-get install packer" in caught.value.hint
    with pytest.raises(PackerMissing, match=r"1\.5\.6, too old"):
        find_packer(program(tmp_path, "echo Packer v1.5.6"))


def test_packer_gets_nothing_of_mlflows(tmp_path: Path) -> None:
    """Of our environment it has what it and AWS need; variables of its own cannot be set from outside."""
    given = {**os.environ, "MLFLOW_TRACKING_TOKEN": "t", "PKR_VAR_region": "x", "AWS_PROFILE": "p"}

    passed = find_packer(given).environment

    assert passed["AWS_PROFILE"] == "p"
    assert not {"MLFLOW_TRACKING_TOKEN", "PKR_VAR_region"} & set(passed)
