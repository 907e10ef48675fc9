"""The bake of a disk: Packer and QEMU carry out the plan in a directory of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runbake.ami.bake import Story
from runbake.ami.disk import DiskPlan
from runbake.ami.packer import Packer
from runbake.ami.workdir import MANIFEST, write_disk_workdir
from runbake.errors import AmiError, DiskFull

_SCHEMA = "https://runbake.dev/schema/disk/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskHands:
    """What a bake of a disk works with; `directory` is empty, and on the device that the disk goes to.

    `heard` gets every line of Packer's; `login` is a config.json of Docker's for the build machine.
    """

    packer: Packer
    story: Story
    heard: Callable[[str], None]
    directory: Path
    login: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk that is done; `new` where this bake made it."""

    path: Path
    sha256: str
    size_bytes: int
    new: bool


def bake_disk(plan: DiskPlan, target: Path, hands: DiskHands, *, force: bool) -> Disk:
    """The disk in the directory `target`, with its provenance beside it as `NAME.json`.

    A disk of the same image and source that is there already is taken; `force` bakes anew.

    Raises:
        AmiError: it could not be baked; nothing is left of it.
        DiskFull: there is no room for it.
    """
    path = target / plan.name
    there = None if force else _there(plan, path)
    if there is not None:
        return there
    with hands.story.step("bake") as step:
        write_disk_workdir(hands.directory, plan, hands.packer.template, login=hands.login)
        make_key(hands.directory)
        hands.packer.prepare(hands.directory, hands.heard)
        hands.packer.build(hands.directory, hands.heard)
        made = _artifact(hands.directory)
        disk = Disk(path=path, sha256=_sha256(made), size_bytes=made.stat().st_size, new=True)
        document = hands.directory / "document.json"
        document.write_text(json.dumps(_document(plan, disk), indent=1), encoding="utf-8")
        try:
            # The document first, as one without its disk is of no use to anybody and is seen to be.
            os.replace(document, _beside(path))
            os.replace(made, path)
        except OSError as error:
            raise DiskFull(f"{path} cannot be written: {error.strerror}") from error
        step.say(f"{path.name}, {disk.size_bytes >> 20} MB, sha256:{disk.sha256[:12]}")
    return disk


def make_key(directory: Path) -> None:
    """Write the bake's own login key, `key`, and what tells cloud-init of it, `seed`.

    Raises:
        AmiError: there is no ssh-keygen.
    """
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "runbake", "-f", str(directory / "key"))
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise AmiError(f"no login key: {error}", hint="apt-get install openssh-client") from error
    seed = directory / "seed"
    seed.mkdir()
    public = (directory / "key.pub").read_text(encoding="ascii").strip()
    (seed / "meta-data").write_text("instance-id: runbake\n", encoding="utf-8")
    (seed / "user-data").write_text(f'#cloud-config\nssh_authorized_keys: ["{public}"]\n', encoding="utf-8")


def _there(plan: DiskPlan, path: Path) -> Disk | None:
    try:
        told = json.loads(_beside(path).read_bytes())
        size = path.stat().st_size
    except (OSError, ValueError):
        return None
    expected = _document(plan, Disk(path=path, sha256="", size_bytes=size, new=False))
    if not isinstance(told, dict) or {**told, "sha256": ""} != expected:
        return None
    digest = _sha256(path)
    return Disk(path=path, sha256=digest, size_bytes=size, new=False) if told["sha256"] == digest else None


def _document(plan: DiskPlan, disk: Disk) -> dict[str, object]:
    return {
        "schema": _SCHEMA,
        "disk": disk.path.name,
        "sha256": disk.sha256,
        "bytes": disk.size_bytes,
        "format": plan.order.disk_format,
        "volumeGb": plan.order.volume_gb,
        "source": plan.source.sha256,
        "reference": plan.subject.reference,
        "digest": str(plan.subject.digest),
        "run": plan.subject.run_id,
        "provenance": dict(plan.subject.tags),
    }


def _artifact(directory: Path) -> Path:
    """The disk that Packer's manifest names."""
    try:
        build = json.loads((directory / MANIFEST).read_bytes())["builds"][-1]
        names = [str(one["name"]) for one in build["files"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AmiError("Packer ended well, and its manifest names no disk") from error
    found = [directory / name for name in names if (directory / name).is_file()]
    if len(found) != 1:
        raise AmiError(f"Packer ended well, and there is not one disk of {', '.join(names)[:200]}")
    return found[0]


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
