"""`ami`: the image on a machine of Amazon's."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import click

from runbake.ami import (
    SOURCES,
    Hands,
    Order,
    Packer,
    Plan,
    bake,
    find_packer,
    leavings,
    plan_ami,
    reap,
    write_workdir,
)
from runbake.aws import Ec2, MachineImage
from runbake.cli.ami_disk import DISK_ONLY, bake_locally, check_place, disk_options
from runbake.cli.baking import login_of, quietly, record, shown, subject_of
from runbake.cli.context import (
    insecure_registry_option,
    settings,
    tracking_option,
)
from runbake.cli.story import TerminalStory
from runbake.errors import ConfigError
from runbake.gocd import Invocation, invocation_of
from runbake.report import reported

_EXAMPLE = "Example: runbake ami 123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud@sha256:0123… --dry-run"
_SCHEMA = "https://runbake.dev/schema/ami/v1"
_OF_THE_STAGE = ("report", "tracking_uri")
"""Options of `ami bake` that a pipeline sets by itself."""


class _WithDefault(click.Group):
    """A group whose first word may be its default command's argument: `ami IMAGE` bakes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["bake", *args]
        return super().parse_args(ctx, args)


@click.group("ami", cls=_WithDefault, epilog=_EXAMPLE)
def ami_group() -> None:
    """Bake IMAGE onto an Amazon machine image (`runbake ami IMAGE …` is short for `ami bake IMAGE …`)."""


def _bake_options(command: Any) -> Any:
    for option in reversed(
        (
            click.option("--region", envvar="AWS_REGION", show_envvar=True, help="Where."),
            click.option(
                "--allow-from",
                multiple=True,
                metavar="CIDR",
                help="Who may reach the build machine by SSH, such as 203.0.113.7/32. Repeat for more.",
            ),
            click.option(
                "--instance-type",
                default="m5.large",
                show_default=True,
                help="The build machine's; m7g.large for linux/arm64.",
            ),
            click.option(
                "--source",
                default="debian-12",
                show_default=True,
                metavar="|".join((*SOURCES, "ami-…")),
                help="What it starts from: the newest of that name, or an AMI.",
            ),
            click.option("--ssh-user", default="", help="Who logs in.  [default: as --source has it]"),
            click.option("--vpc", default="", metavar="vpc-…", help="[default: the region's own]"),
            click.option("--subnet", default="", metavar="subnet-…", help="[default: one of the VPC's]"),
            click.option(
                "--instance-profile",
                default="",
                metavar="NAME",
                help="The build machine's role; to pull from Amazon ECR.",
            ),
            click.option(
                "--kms-key",
                default="",
                metavar="ID",
                help="What encrypts the disk.  [default: AWS's own key]",
            ),
            click.option(
                "--volume",
                "volume_gb",
                type=int,
                default=20,
                show_default=True,
                metavar="GB",
                help="The disk.",
            ),
            click.option(
                "--copy-to", multiple=True, metavar="REGION", help="Copy it there as well. Repeat for more."
            ),
            click.option(
                "--share-with", "accounts", multiple=True, metavar="ACCOUNT", help="Who else may start it."
            ),
        )
    ):
        command = option(command)
    return command


@ami_group.command("bake", epilog=_EXAMPLE)
@click.argument("image")
@_bake_options
@disk_options
@click.option(
    "--deprecate-after",
    "deprecate_days",
    type=click.IntRange(1, 3650),
    metavar="DAYS",
    help="From then on others do not find it any more.  [default: never]",
)
@click.option("--force", is_flag=True, help="Bake also if the image has an AMI there.")
@click.option("--dry-run", is_flag=True, help="Print the plan, let Packer check it, and make nothing.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default="ami.json",
    show_default=True,
    help="What was baked, as a JSON document for the next stage; on failure too.",
)
@click.option(
    "--from-gocd",
    is_flag=True,
    help="Tell the GoCD job that runs this: --report, AMI, run.",
)
@insecure_registry_option
@tracking_option
def bake_command(image: str, **options: Any) -> None:
    """Bake IMAGE onto a machine image that runs it as a batch job.

    IMAGE is a reference by digest or tag, or the image.json of `containerize`. Asked again for the same image
    it finds the AMI that is there. Prints the AMI's id; with --local the path of the disk.
    """
    check_place(click.get_current_context())
    if options["local"] is not None:
        bake_locally(image, options)
        return
    environment = settings().environment
    order, packer = _order(options, environment), find_packer(environment)
    job = invocation_of(environment) if options["from_gocd"] else None
    if options["dry_run"]:
        plan = _checked(image, order, packer, job)
        click.echo(json.dumps(plan.to_json(), indent=1, ensure_ascii=False))
        return
    asked = f"{image} --region {order.region} --instance-type {order.instance_type}"
    told_job = job.to_json() if job else None
    with reported(options["report"], asked=asked, schema=_SCHEMA, gocd=told_job) as told:
        told.update(_baked(image, order, packer, job, options))
    click.echo(told["id"])


def bake_options(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The `OPTION=VALUE`s as options that `ami bake` takes in another place, a pipeline's stage.

    Raises:
        ConfigError: one is no option of it, has a value that it refuses, or one that it needs is missing.
    """
    if not texts:
        return ()
    known = {
        name.removeprefix("--"): parameter.name
        for parameter in bake_command.params
        if isinstance(parameter, click.Option)
        and not parameter.is_flag
        and parameter.name not in (*_OF_THE_STAGE, *DISK_ONLY)
        for name in parameter.opts
    }
    found = []
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise ConfigError(f"--ami {text[:80]!r} is none of {', '.join(sorted(known))} with =VALUE")
        found.append((name, value))
    for name in ("region", "allow-from"):
        if name not in dict(found):
            raise ConfigError(f"--ami {name}=… is missing", hint="`runbake ami bake` needs it")
    words = ["image.json", *(f"--{name}={value}" for name, value in found)]
    try:
        context = bake_command.make_context("bake", words, parent=click.get_current_context())
        _order(context.params, {})
    except click.UsageError as error:
        raise ConfigError(f"--ami: {error.format_message()}") from error
    return tuple(found)


def _checked(image: str, order: Order, packer: Packer, job: Invocation | None) -> Plan:
    """The plan, which Packer accepts."""
    story = TerminalStory(settings().console)
    plan = _planned(image, order, Ec2(order.region), job, story)
    with _scratch() as directory, story.step("check") as step:
        write_workdir(directory, plan, packer.template)
        packer.prepare(directory, quietly)
        packer.validate(directory, quietly)
        step.say(f"Packer {'.'.join(map(str, packer.version))} accepts the plan")
    return plan


def _baked(
    image: str, order: Order, packer: Packer, job: Invocation | None, options: Mapping[str, Any]
) -> dict[str, object]:
    """Bake, and tell the run; what the report says of it."""
    story, clients = TerminalStory(settings().console), cache(Ec2)
    plan = _planned(image, order, clients(order.region), job, story)
    days: int | None = options["deprecate_days"]
    deprecate_at = _now() + timedelta(days=days) if days else None
    with _scratch() as directory:
        hands = Hands(
            packer=packer,
            ec2=clients,
            story=story,
            heard=shown,
            directory=directory,
            now=_now,
            login=login_of(plan.subject, by_role=bool(order.instance_profile)),
        )
        made = bake(plan, hands, force=options["force"], deprecate_at=deprecate_at)
    tags = {f"runbake.ami.{one.region}": one.image.image_id for one in made}
    record(plan.subject.run_id, tags, job, options["tracking_uri"], story)
    return {
        "id": made[0].image.image_id,
        "region": order.region,
        "reference": plan.subject.reference,
        "digest": str(plan.subject.digest),
        "run": plan.subject.run_id,
        "new": made[0].bake_id == plan.bake_id,
        "source": plan.source.image_id,
        "packerVersion": ".".join(map(str, packer.version)),
        "images": [one.to_json() for one in made],
    }


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory for Packer, removed at the end.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="runbake-ami-") as directory:
            yield Path(directory)
    except OSError as error:
        raise ConfigError(f"no directory for Packer: {error}", hint="set TMPDIR") from error


def _planned(image: str, order: Order, ec2: Ec2, job: Invocation | None, story: TerminalStory) -> Plan:
    with story.step("plan") as step:
        subject = subject_of(image, order.platform, job)
        plan = plan_ami(order, subject, _source(ec2, order), bake_id=secrets.token_hex(6))
        step.say(f"{plan.name} from {plan.source.name or plan.source.image_id}")
        return plan


@ami_group.command("reap", epilog="Example: runbake ami reap --region eu-central-1 --older-than 12")
@click.argument("bakes", nargs=-1, metavar="[BAKE]...")
@click.option("--region", envvar="AWS_REGION", show_envvar=True, required=True, help="Where.")
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(0),
    default=6.0,
    show_default=True,
    metavar="HOURS",
    help="Without BAKE: those that began before. A bake that goes on must not be among them.",
)
@click.option("--dry-run", is_flag=True, help="Say whose leavings there are, and remove nothing.")
def reap_command(bakes: tuple[str, ...], region: str, hours: float, dry_run: bool) -> None:
    """Remove what killed bakes left: build machines, disks, groups, keys, AMIs that never got their tags.

    BAKE is the id that `ami bake` tells. Prints what was removed.
    """
    ec2, before = Ec2(region), _now() - timedelta(hours=hours)
    for left in leavings(ec2):
        chosen = left.bake_id in bakes if bakes else left.since is not None and left.since <= before
        if not chosen or dry_run:
            settings().console.print(
                f"  {left.bake_id}  since {left.since or 'an unknown time'}, left alone", highlight=False
            )
            continue
        for what in reap(ec2, left.bake_id):
            click.echo(f"{left.bake_id}\t{what}")


def _order(options: Mapping[str, Any], environment: Mapping[str, str]) -> Order:
    """The order; `--dry-run` and the like are none of its business."""
    names = ("region", "instance_type", "allow_from", "source", "ssh_user", "vpc", "subnet")
    more = ("instance_profile", "kms_key", "volume_gb", "copy_to", "accounts")
    # The variables of the AWS SDKs: boto3 heeds them by itself, Packer has to be told.
    endpoint = environment.get("AWS_ENDPOINT_URL_EC2") or environment.get("AWS_ENDPOINT_URL") or ""
    return Order(**{name: options[name] for name in (*names, *more)}, endpoint=endpoint)


def _source(ec2: Ec2, order: Order) -> MachineImage:
    if order.source in SOURCES:
        return ec2.newest(SOURCES[order.source][0], order.architecture)
    return ec2.image(order.source)


def _now() -> datetime:
    return datetime.now(UTC)
