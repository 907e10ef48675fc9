"""What will be baked, decided before anything is made; and nothing of MLflow's among what Packer is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbake.ami import Order, Plan, Subject, architecture_of, plan_ami, static_files, write_workdir
from runbake.aws import MachineImage, hint_of
from runbake.errors import AmiError, ConfigError
from runbake.image import Digest
from runbake.provenance import EC2_TAG_VALUE_LIMIT, ec2_tags

DIGEST = Digest("sha256:" + "ab" * 32)
BAKE = "0123456789ab"
HOSTILE = "{{ env `HOME` }} ${var.region} %{ if true } \" ' \\ $(id) `id`\n#cloud-config\u202e"
GOOD: dict[str, Any] = {"region": "eu-central-1", "instance_type": "m5.large", "allow_from": ("10.0.0.0/8",)}
SOURCE = MachineImage(
    image_id="ami-0123456789abcdef0",
    name="debian-12-amd64-20261101",
    state="available",
    architecture="x86_64",
    root_device="/dev/xvda",
    root_gb=8,
    created_at="2026-11-01T00:00:00.000Z",
    tags={},
    snapshots=("snap-0123456789abcdef0",),
)


def subject(**given: Any) -> Subject:
    labels = {"dev.runbake.run-name": HOSTILE, "org.opencontainers.image.title": HOSTILE * 20}
    wanted: dict[str, Any] = {
        "repository": "127.0.0.1:5000/fraud",
        "digest": DIGEST,
        "platform": "linux/amd64",
        "run_id": "0" * 32,
        "tags": ec2_tags(labels.items()),
    }
    return Subject(**{**wanted, **given})


def plan(**given: Any) -> Plan:
    return plan_ami(Order(**{**GOOD, **given}), subject(), SOURCE, bake_id=BAKE)


def test_nothing_of_mlflows_is_among_the_variables(tmp_path: Path) -> None:
    """A hostile run name is in the tags that are set afterwards, and in no file that Packer reads."""
    made = plan()
    write_workdir(tmp_path, made, "legacy")

    assert any("env" in value for value in made.tags().values())
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert "HOME" not in path.read_text(), path
    variables = json.loads((tmp_path / "runbake.auto.pkrvars.json").read_text())
    assert variables == {**made.variables(), "security_group": ""}
    flat = [text for value in variables.values() for text in (value if isinstance(value, list) else [value])]
    assert not [text for text in map(str, flat) if set(text) & set("{}$%`\"'\\\n ")]


def test_a_login_is_its_owners_only_and_no_variable(tmp_path: Path) -> None:
    """It goes onto the machine as a file, which nobody else here can read."""
    write_workdir(tmp_path, plan(), "legacy", login=b'{"auths": {}}')

    path = tmp_path / "common" / "docker" / "config.json"
    assert (path.stat().st_mode & 0o777, path.read_bytes()) == (0o600, b'{"auths": {}}')
    assert "auths" not in (tmp_path / "runbake.auto.pkrvars.json").read_text()


def test_tags_keep_ec2s_limits() -> None:
    """Long text ends with what is missing, and what AWS refuses is replaced."""
    tags = plan().tags()

    assert len(tags) <= 50
    assert all(len(value) <= EC2_TAG_VALUE_LIMIT for value in tags.values())
    assert tags["runbake.bake"] == BAKE
    assert tags["runbake.image"] == f"127.0.0.1:5000/fraud@{DIGEST}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", "{{ env `HOME` }}"),
        ("instance_type", "m5.large\n"),
        ("source", "ami-${x}"),
        ("source", "debian-13"),
        ("ssh_user", "root; id"),
        ("vpc", "vpc-zzzzzzzz"),
        ("subnet", "subnet"),
        ("instance_profile", "a b"),
        ("kms_key", "{{x}}"),
        ("endpoint", "file:///etc/passwd"),
        ("allow_from", ()),
        ("allow_from", ("10.0.0.1",)),
        ("allow_from", ("10.0.0.1/8",)),
        ("copy_to", ("eu-central-1",)),
        ("copy_to", ("moon",)),
        ("accounts", ("123",)),
        ("volume_gb", 7),
    ],
)
def test_values_of_another_shape_are_refused(name: str, value: object) -> None:
    """Each is named by its flag."""
    flags = {"volume_gb": "volume", "accounts": "share-with", "endpoint": "endpoint"}

    with pytest.raises(ConfigError, match=f"--{flags.get(name, name.replace('_', '-'))}"):
        Order(**{**GOOD, name: value})


def test_everything_that_is_wrong_is_listed() -> None:
    """One answer, not one at a time."""
    with pytest.raises(ConfigError) as caught:
        Order(**{**GOOD, "vpc": "x", "subnet": "y", "accounts": ("123456789012",)})

    assert all(flag in str(caught.value) for flag in ("--vpc", "--subnet", "--kms-key"))


def test_shared_copies_are_refused() -> None:
    """A copy is under AWS's own key, which no other account may use."""
    with pytest.raises(ConfigError, match="copies"):
        Order(**GOOD, kms_key="alias/x", accounts=("123456789012",), copy_to=("eu-west-1",))


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("m5.large", "x86_64"),
        ("c7i-flex.large", "x86_64"),
        ("g4dn.xlarge", "x86_64"),
        ("g6.xlarge", "x86_64"),
        ("u-6tb1.metal", "x86_64"),
        ("x2iedn.xlarge", "x86_64"),
        ("m7g.large", "arm64"),
        ("c6gn.medium", "arm64"),
        ("t4g.small", "arm64"),
        ("a1.medium", "arm64"),
        ("g5g.xlarge", "arm64"),
        ("is4gen.large", "arm64"),
        ("im4gn.large", "arm64"),
        ("r8gd.metal-24xl", "arm64"),
    ],
)
def test_an_instance_types_name_tells_its_architecture(instance_type: str, architecture: str) -> None:
    """As Amazon names them."""
    assert architecture_of(instance_type) == architecture


def test_what_does_not_fit_is_refused() -> None:
    """Image, source and instance type, all at once, with a type that would do."""
    order = Order(**{**GOOD, "instance_type": "m7g.large"})
    big = MachineImage(**{name: getattr(SOURCE, name) for name in SOURCE.__slots__} | {"root_gb": 30})

    with pytest.raises(AmiError) as caught:
        plan_ami(order, subject(repository="[::1]:5000/fraud"), big, bake_id=BAKE)

    for told in ("linux/amd64", "x86_64", "30 GB", "[::1]"):
        assert told in str(caught.value)
    assert "m5.large" in caught.value.hint


def test_a_registry_of_this_machine_is_tunnelled() -> None:
    """Through Packer's own connection; one that the machine can reach is not."""
    elsewhere = plan_ami(Order(**GOOD), subject(repository="r.example.org/fraud"), SOURCE, bake_id=BAKE)

    assert plan().variables()["tunnels"] == ["5000:127.0.0.1:5000"]
    assert elsewhere.variables()["tunnels"] == []


def test_aws_refusals_get_the_hint_of_the_first_code() -> None:
    """In Packer's output as in boto3's errors; what is not known gets none."""
    said = "==> Error launching: VcpuLimitExceeded: You have requested more\nUnauthorizedOperation"

    assert "quota" in hint_of(said)
    assert hint_of("all is well") == ""


def test_templates_of_both_packers_are_shipped() -> None:
    """With the machine's own files."""
    here = {str(path.relative_to(static_files())) for path in static_files().rglob("*") if path.is_file()}

    assert {"legacy/machine.pkr.hcl", "common/provision.sh", "common/runbake-job"} <= here
