"""What Packer is given: our static files, and one file of variables."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

from runbake.ami.disk import DiskPlan
from runbake.ami.plan import Plan

VARIABLES = "runbake.auto.pkrvars.json"
MANIFEST = "manifest.json"


def static_files() -> Path:
    """The directory `packer`, as the wheel carries it or as it lies in the checkout."""
    installed = Path(str(files("runbake") / "_data" / "packer"))
    return installed if installed.is_dir() else Path(__file__).parents[3] / "packer"


def write_workdir(directory: Path, plan: Plan, template: str, *, group: str = "", login: bytes = b"") -> None:
    """Copy the static files and write the variables; `template` is "legacy" or "current".

    `group` is the security group's id, "" before there is one; `login` is what Docker needs to pull, a
    config.json that only this user may read.

    Raises:
        OSError: it cannot be written.
    """
    templates = sorted((static_files() / template).glob("*.pkr.hcl"))
    _lay_out(directory, templates, {**plan.variables(), "security_group": group}, login)


def write_disk_workdir(directory: Path, plan: DiskPlan, template: str, *, login: bytes = b"") -> None:
    """The same for a disk, with a link to its source.

    Raises:
        OSError: it cannot be written.
    """
    source = static_files() / "disk"
    templates = sorted(source.glob("*.pkr.hcl"))
    if template == "current":
        templates += sorted((source / "current").glob("*.pkr.hcl"))
    _lay_out(directory, templates, plan.variables(), login)
    (directory / "source.img").symlink_to(plan.source.path.resolve())


def _lay_out(directory: Path, templates: list[Path], variables: dict[str, object], login: bytes) -> None:
    shutil.copytree(static_files() / "common", directory / "common")
    if login:
        (directory / "common" / "docker").mkdir(mode=0o700)
        path = directory / "common" / "docker" / "config.json"
        path.touch(mode=0o600)
        path.write_bytes(login)
    for path in templates:
        shutil.copyfile(path, directory / path.name)
    (directory / VARIABLES).write_text(json.dumps(variables, indent=1), encoding="utf-8")
