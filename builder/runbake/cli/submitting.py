"""`batch submit`: a job on a machine of its own."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from runbake.ami import DONE, TAG_STATE, architecture_of, name_prefix
from runbake.aws import Ec2, Machine, MachineImage, Machines
from runbake.cli.context import (
    insecure_registry_option,
    open_registries,
    open_tracking,
    settings,
    tracking_option,
)
from runbake.cli.image_ref import image_ref
from runbake.cli.jobs import Handle, document_in, exit_as, waited
from runbake.cli.recording import batch_tags, record_on_run
from runbake.cli.story import TerminalStory
from runbake.cli.trace import shape_of
from runbake.errors import ConfigError, JobError
from runbake.gocd import invocation_of
from runbake.jobs import JobPlan, Machinery, plan_job
from runbake.provenance import ec2_tags
from runbake.published import read_published
from runbake.report import reported
from runbake.tracking import RunRef
from runbake_serving.contract import LABEL_RUN_ID

_SCHEMA = "https://runbake.dev/schema/job/v1"
_AMI = re.compile(r"ami-[0-9a-f]{8,17}")


@click.command(
    "submit",
    epilog="Example: runbake batch submit ami.json --region eu-central-1 --instance-profile runbake-batch "
    "--input s3://in/day=2026-11-20/ --output s3://out/scores/2026-11-20/",
)
@click.argument("what", metavar="AMI|IMAGE|RUN")
@click.option(
    "--input", "inputs", multiple=True, metavar="URI", help="s3://, a prefix or a glob; repeatable."
)
@click.option("--output", default="", metavar="URI", help="An s3:// prefix of its own.")
@click.option(
    "--spec",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The job as JSON (docs/batch.md); options win over it.",
)
@click.option("--output-format", default="", metavar="parquet|csv|jsonl", help="[default: parquet]")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Copy this input column; repeat for more.")
@click.option(
    "--max-rejects", default="", metavar="N|P%", help="How many rows may be rejected.  [default: 0]"
)
@click.option("--logs", default="", metavar="URI", help="An s3:// prefix.  [default: OUTPUT-logs]")
@click.option(
    "--time-limit", type=click.FloatRange(0.01, 720), default=24.0, show_default=True, metavar="HOURS"
)
@click.option("--region", envvar="AWS_REGION", show_envvar=True, required=True, help="Where.")
@click.option("--instance-type", default="m5.large", show_default=True)
@click.option(
    "--instance-profile", required=True, metavar="NAME", help="The machine's role: reads, writes, no more."
)
@click.option("--subnet", default="", metavar="subnet-…", help="[default: one of the default VPC's]")
@click.option("--security-group", "groups", multiple=True, metavar="sg-…", help="[default: the VPC's own]")
@click.option("--spot", is_flag=True, help="A spot machine; where there is none, an ordinary one.")
@click.option("--spot-only", is_flag=True, help="A spot machine or none.")
@click.option("--wait", "waits", is_flag=True, help="Stay until it has ended; the exit status is the job's.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and start nothing.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default="job.json",
    show_default=True,
    help="What was started, for `batch wait` and its relatives; on failure too.",
)
@click.option("--from-gocd", is_flag=True, help="Tell the GoCD job that runs this in the --report.")
@insecure_registry_option
@tracking_option
def submit_command(what: str, **options: Any) -> None:
    """Start a machine from an AMI of `runbake ami`, which does one batch job and removes itself.

    AMI is an id or the ami.json of the bake. Of an IMAGE (a reference, or image.json) or a RUN, its newest
    AMI in the region is taken. Prints the job's id.
    """
    environment = settings().environment
    machinery = Machinery(
        region=options["region"],
        instance_type=options["instance_type"],
        instance_profile=options["instance_profile"],
        subnet=options["subnet"],
        groups=options["groups"],
        spot=options["spot"] or options["spot_only"],
        on_demand=not options["spot_only"],
        endpoint=environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or "",
    )
    job = invocation_of(environment).to_json() if options["from_gocd"] else None
    if options["dry_run"]:
        click.echo(json.dumps(_planned(what, machinery, options).to_json(), indent=1, ensure_ascii=False))
        return
    with reported(options["report"], asked=what, schema=_SCHEMA, gocd=job) as told:
        plan = _planned(what, machinery, options)
        machine = _launched(plan)
        told.update({**plan.to_json(), "instance": machine.instance_id, "spot": machine.spot})
    record_on_run(
        batch_tags(plan.output, plan.job_id),
        str(told["run"]),
        options["tracking_uri"],
        TerminalStory(settings().console),
        what="the job",
    )
    click.echo(plan.job_id)
    if options["waits"]:
        exit_as(waited(Handle(plan.job_id, plan.machinery.region, machine.instance_id, plan.logs), None))


def _planned(what: str, machinery: Machinery, options: Mapping[str, Any]) -> JobPlan:
    story = TerminalStory(settings().console)
    spec = _spec(options)
    with story.step("plan") as step:
        image = _ami_of(what, machinery, options["tracking_uri"])
        # The bake's own tags stay off the machine: `ami reap` removes what carries them.
        provenance = ec2_tags(
            (key, value) for key, value in image.tags.items() if not key.startswith("runbake.")
        )
        plan = plan_job(
            machinery,
            image,
            spec,
            job_id=secrets.token_hex(6),
            logs=options["logs"],
            time_limit_s=max(1, round(options["time_limit"] * 3600)),
            provenance=provenance,
        )
        step.say(f"{image.image_id}, {machinery.instance_type}, {plan.output}")
        return plan


def _spec(options: Mapping[str, Any]) -> dict[str, Any]:
    """The job's document, options laid over it; what is wrong inside, the image says."""
    path: Path | None = options["spec"]
    document: Any = {}
    if path is not None:
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no JSON object", hint="docs/batch.md has an example")
    for name, key, value in (
        ("input", "uris", list(options["inputs"])),
        ("output", "uri", options["output"]),
        ("output", "format", options["output_format"]),
        ("output", "keep", list(options["keep"])),
    ):
        if value:
            section = document.get(name)
            document[name] = {**(section if isinstance(section, dict) else {}), key: value}
    return {**document, **({"max_rejects": options["max_rejects"]} if options["max_rejects"] else {})}


def _ami_of(what: str, machinery: Machinery, tracking_uri: str | None) -> MachineImage:
    """The AMI that is meant, in the machinery's region."""
    ec2 = Ec2(machinery.region)
    if what.endswith(".json") and (baked := _baked_in(Path(what), machinery.region)):
        return ec2.image(baked)
    if _AMI.fullmatch(what):
        return ec2.image(what)
    if not what.endswith(".json") and shape_of(what) == "run":
        record = open_tracking(tracking_uri).record_of(RunRef.parse(what))
        told = dict(record.stops).get(f"runbake.ami.{machinery.region}", "")
        if not _AMI.fullmatch(told):
            raise JobError(
                f"{what} has no AMI in {machinery.region} yet", hint="`runbake ami IMAGE` bakes one"
            )
        image = ec2.image(told)
        # Whoever may write to MLflow sets the tag; tags of an AMI are seen by its own account only.
        if image.tags.get(LABEL_RUN_ID) != record.run_id:
            raise JobError(f"the tag of run {record.run_id} names {told}, which is no AMI of that run")
        return image
    ref = image_ref(what)
    platform = "linux/arm64" if architecture_of(machinery.instance_type) == "arm64" else "linux/amd64"
    digest = read_published(ref, open_registries()(ref.host), platform=platform).digest
    found = [one for one in ec2.own_images(f"{name_prefix(digest)}*") if one.tags.get(TAG_STATE) == DONE]
    if not found:
        hint = f"runbake ami {ref} --region {machinery.region} --instance-type {machinery.instance_type}"
        raise JobError(f"{ref} has no AMI in {machinery.region} yet ({digest})", hint=hint)
    return found[0]


def _baked_in(path: Path, region: str) -> str:
    """The AMI that an ami.json names in that region; "" where the file is another document."""
    document = document_in(path)
    if "images" not in document:
        return ""
    ids = {one.get("region"): one.get("id") for one in document["images"] if isinstance(one, dict)}
    if not _AMI.fullmatch(str(ids.get(region, ""))):
        raise ConfigError(
            f"{path} names no AMI in {region}", hint=f"it has {', '.join(map(str, ids)) or 'none'}"
        )
    return str(ids[region])


def _launched(plan: JobPlan) -> Machine:
    story, machines = TerminalStory(settings().console), Machines(plan.machinery.region)
    with story.step("launch") as step:
        machine = machines.launch(plan.request(spot=True)) if plan.machinery.spot else None
        if machine is None and plan.machinery.spot:
            if not plan.machinery.on_demand:
                raise JobError(
                    f"no spot machine {plan.machinery.instance_type} is free in {plan.machinery.region} now",
                    hint="--spot takes an ordinary one then; or another --subnet or --instance-type",
                )
            story.warn("no spot machine is to be had now; an ordinary one is taken")
        if machine is None:
            machine = machines.launch(plan.request(spot=False))
        if machine is None:
            raise JobError("EC2 started no machine")
        step.say(f"{machine.instance_id}, logs go to {plan.logs}")
        return machine
