"""`ami bake --local`: the image on a disk of this machine's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from runbake.ami import (
    ACCELERATORS,
    FORMATS,
    Disk,
    DiskHands,
    DiskOrder,
    DiskPlan,
    Packer,
    accelerator,
    bake_disk,
    find_packer,
    make_key,
    plan_disk,
    source_disk,
    write_disk_workdir,
)
from runbake.cli.baking import login_of, quietly, record, shown, subject_of
from runbake.cli.context import settings
from runbake.cli.story import TerminalStory
from runbake.errors import ConfigError
from runbake.gocd import Invocation, invocation_of
from runbake.report import reported
from runbake.scratch import scratch_directory

DISK_ONLY = ("local", "source_disk", "disk_format", "memory_mb", "cpus", "accelerator")
"""Options that go with --local only."""
_BOTH = ("image", "ssh_user", "volume_gb", "force", "dry_run", "report", "from_gocd", "tracking_uri")
_SCHEMA = "https://runbake.dev/schema/ami/v1"
_TAG = "runbake.disk"


def disk_options(command: Any) -> Any:
    """Give a command the options of a bake on this machine."""
    folder = click.Path(path_type=Path, file_okay=False)
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option(
            "--accelerator",
            type=click.Choice(("auto", *ACCELERATORS)),
            default="auto",
            show_default=True,
            help="For --local: what QEMU computes by; auto takes kvm where a guest really runs by it.",
        ),
        click.option(
            "--cpus", type=int, default=2, show_default=True, help="For --local: the build machine's."
        ),
        click.option(
            "--memory",
            "memory_mb",
            type=int,
            default=2048,
            show_default=True,
            metavar="MB",
            help="For --local: the build machine's.",
        ),
        click.option(
            "--format",
            "disk_format",
            type=click.Choice(FORMATS),
            default="qcow2",
            show_default=True,
            help="For --local: the disk's.",
        ),
        click.option(
            "--source-disk",
            type=file,
            metavar="FILE",
            help="For --local: a Debian 12 with cloud-init, qcow2 or raw, such as Debian's genericcloud.",
        ),
        click.option(
            "--local",
            type=folder,
            metavar="DIR",
            help="Bake a bootable disk into DIR by QEMU; AWS is not asked.",
        ),
    ):
        command = option(command)
    return command


def check_place(context: click.Context) -> None:
    """Refuse what does not go with the place that is baked for, and what is missing for it.

    Raises:
        click.UsageError: the command line is at fault.
    """
    local = context.params["local"] is not None
    needed = ("source_disk",) if local else ("region", "allow_from")
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and local and name not in (*DISK_ONLY, *_BOTH, "insecure_registries"):
            raise click.UsageError(f"{parameter.opts[0]} does not go with --local", context)
        if given and not local and name in DISK_ONLY:
            raise click.UsageError(f"{parameter.opts[0]} goes with --local only", context)
    for parameter in context.command.params:
        if parameter.name in needed and not context.params[parameter.name]:
            raise click.MissingParameter(ctx=context, param=parameter)


def bake_locally(image: str, options: Mapping[str, Any]) -> None:
    """Bake the disk, or with --dry-run print its plan; prints the disk's path."""
    environment = settings().environment
    order = DiskOrder(
        disk_format=options["disk_format"],
        volume_gb=options["volume_gb"],
        ssh_user=options["ssh_user"] or "admin",
        memory_mb=options["memory_mb"],
        cpus=options["cpus"],
    )
    packer, story = find_packer(environment), TerminalStory(settings().console)
    job = invocation_of(environment) if options["from_gocd"] else None
    if options["dry_run"]:
        plan = _checked(_planned(image, order, job, options, story), packer, options["local"], story)
        click.echo(json.dumps(plan.to_json(), indent=1, ensure_ascii=False))
        return
    told_job = job.to_json() if job else None
    asked = f"{image} --local {options['local']}"
    with reported(options["report"], asked=asked, schema=_SCHEMA, gocd=told_job) as told:
        plan = _planned(image, order, job, options, story)
        with _scratch(options["local"]) as directory:
            hands = DiskHands(
                packer=packer,
                story=story,
                heard=shown,
                directory=directory,
                login=login_of(plan.subject, by_role=False),
            )
            disk = bake_disk(plan, options["local"], hands, force=options["force"])
        record(plan.subject.run_id, {_TAG: f"sha256:{disk.sha256}"}, job, options["tracking_uri"], story)
        told.update(_told(plan, disk, packer))
    click.echo(disk.path)


def _planned(
    image: str, order: DiskOrder, job: Invocation | None, options: Mapping[str, Any], story: TerminalStory
) -> DiskPlan:
    environment, wanted = settings().environment, options["accelerator"]
    with story.step("plan") as step:
        subject = subject_of(image, "linux/amd64", job)
        source = source_disk(options["source_disk"], environment)
        found = accelerator(environment) if wanted == "auto" else wanted
        plan = plan_disk(order, subject, source, accelerator=found)
        step.say(f"{plan.name} from {source.path.name}, by {found}")
        return plan


def _checked(plan: DiskPlan, packer: Packer, target: Path, story: TerminalStory) -> DiskPlan:
    with _scratch(target) as directory, story.step("check") as step:
        write_disk_workdir(directory, plan, packer.template)
        make_key(directory)
        packer.prepare(directory, quietly)
        packer.validate(directory, quietly)
        step.say(f"Packer {'.'.join(map(str, packer.version))} accepts the plan")
    return plan


def _told(plan: DiskPlan, disk: Disk, packer: Packer) -> dict[str, object]:
    """What the report says of a disk."""
    return {
        "id": str(disk.path),
        "reference": plan.subject.reference,
        "digest": str(plan.subject.digest),
        "run": plan.subject.run_id,
        "new": disk.new,
        "source": f"sha256:{plan.source.sha256}",
        "packerVersion": ".".join(map(str, packer.version)),
        "disk": {
            "path": str(disk.path.absolute()),
            "sha256": disk.sha256,
            "bytes": disk.size_bytes,
            "format": plan.order.disk_format,
            "accelerator": plan.accelerator,
        },
        "provenance": dict(plan.subject.tags),
    }


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A directory for Packer on the disk's own device; what a killed bake left there is removed first.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with scratch_directory(target) as directory:
            yield directory
    except OSError as error:
        raise ConfigError(f"no directory for Packer in {target}: {error}", hint="--local DIR") from error
