"""What became of a submitted batch job: `batch status`, `wait`, `logs`, `cancel` and `list`."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from runbake.ami import TAG_IMAGE
from runbake.aws import Machine, Machines, read_object
from runbake.cli.context import settings
from runbake.cli.story import TerminalStory, one_line
from runbake.errors import ConfigError, JobError, JobFailed, JobLost
from runbake.jobs import TAG_JOB, TAG_LOGS, Outcome, outcome_of
from runbake_serving.contract import LABEL_RUN_ID

_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_JOB = re.compile(r"[0-9a-f]{12}")
_REPORT_BYTES = 4 << 20
_LOG_BYTES = 1 << 20
_POLL_S = 10.0
_NEVER_RAN = (125, 126, 127)
"""Statuses of `docker run` itself."""


@dataclass(frozen=True, slots=True)
class Handle:
    """Where a job's machine and its record are looked for."""

    job_id: str
    region: str
    instance_id: str
    logs: str

    def machine(self) -> Machine | None:
        """Its machine, as long as EC2 knows it."""
        return Machines(self.region).machine(self.instance_id)

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """The end of a file that the machine left."""
        return read_object(f"{self.logs}/{name}", self.region, most_bytes=most_bytes)

    def outcome(self) -> Outcome:
        """How it stands; the machine is asked first, as the record comes before the machine's end."""
        machine, body = self.machine(), self.read("_JOB.json", _REPORT_BYTES)
        return outcome_of(machine, None if body is None else _record(body))


def _record(body: bytes) -> dict[str, Any]:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {"why": "its record cannot be read"}


def document_in(path: Path) -> dict[str, Any]:
    """The JSON object in a report of runbake's.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_REPORT_BYTES))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no document of runbake: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no document of runbake")
    return document


def _handle(job: str, region: str) -> Handle:
    """The job of this id, instance or job.json."""
    if job.endswith(".json"):
        told = document_in(Path(job))
        found = [told.get(key) for key in ("job", "region", "instance", "logs")]
        texts = [one for one in found if isinstance(one, str)]
        if len(texts) != len(found) or not texts[3].startswith("s3://"):
            raise ConfigError(
                f"{job} names no job that was started", hint="name the report of `batch submit`"
            )
        return Handle(*texts)
    if not region:
        raise click.UsageError("--region is missing: only a job.json names its own")
    if _INSTANCE.fullmatch(job):
        machine = Machines(region).machine(job)
    elif _JOB.fullmatch(job):
        machine = next(iter(Machines(region).tagged(TAG_JOB, job)), None)
    else:
        raise ConfigError(
            f"{job[:80]!r} names no job",
            hint="say its id, its instance (i-…), or the job.json of `batch submit`",
        )
    if machine is None or TAG_JOB not in machine.tags:
        raise JobError(
            f"EC2 in {region} knows no machine of the job {job}",
            hint="it forgets machines after an hour; the job.json of `batch submit` still leads there",
        )
    return Handle(machine.tags[TAG_JOB], region, machine.instance_id, machine.tags.get(TAG_LOGS, ""))


def _job_argument(command: Any) -> Any:
    region = click.option(
        "--region", envvar="AWS_REGION", show_envvar=True, default="", help="Where; a job.json names its own."
    )
    return click.argument("job", metavar="JOB")(region(command))


@click.command("status", epilog="Example: runbake batch status job.json")
@_job_argument
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status_command(job: str, region: str, as_json: bool) -> None:
    """Tell how a submitted JOB stands: its id, its instance or its job.json."""
    handle = _handle(job, region)
    outcome, machine = handle.outcome(), handle.machine()
    told = {
        "job": handle.job_id,
        "state": outcome.state,
        "status": outcome.status,
        "why": outcome.why,
        "instance": handle.instance_id,
        "machine": machine.state if machine else "gone",
        "run": machine.tags.get(LABEL_RUN_ID, "") if machine else "",
        "image": machine.tags.get(TAG_IMAGE, "") if machine else "",
        "logs": handle.logs,
    }
    if as_json:
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    for name, value in told.items():
        if value not in ("", None):
            click.echo(f"  {name:<12}{one_line(str(value))}")


@click.command("wait", epilog="Example: runbake batch wait job.json")
@_job_argument
@click.option("--timeout", type=click.FloatRange(0), metavar="HOURS", help="Give up then; the job goes on.")
def wait_command(job: str, region: str, timeout: float | None) -> None:
    """Stay until the JOB has ended; the exit status is its own, 121 if it left no record."""
    exit_as(waited(_handle(job, region), timeout))


def waited(handle: Handle, hours: float | None) -> Outcome:
    """The outcome once the job is over.

    Raises:
        JobError: so many hours have gone before; None waits for ever.
    """
    story = TerminalStory(settings().console)
    give_up_at = time.monotonic() + hours * 3600 if hours is not None else None
    with story.step("job") as step:
        while True:
            outcome = handle.outcome()
            step.say(_told(outcome))
            if outcome.over:
                return outcome
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise JobError(
                    f"the job {handle.job_id} has not ended in time: {outcome.why}", hint="it goes on"
                )
            time.sleep(_POLL_S)


def _told(outcome: Outcome) -> str:
    status = "" if outcome.status is None else f", status {outcome.status}"
    return f"{outcome.state}{status}: {outcome.why}"


def exit_as(outcome: Outcome) -> None:
    """Exit as the job did.

    Raises:
        JobLost: nothing tells how it ended.
        JobFailed: its container never got to the job.
    """
    if outcome.state == "lost":
        raise JobLost(
            outcome.why, hint="`runbake batch logs` shows the machine's console; submit it again to go on"
        )
    if outcome.status is None or outcome.status in _NEVER_RAN:
        raise JobFailed(f"the job never ran: {_told(outcome)}")
    click.get_current_context().exit(outcome.status)


@click.command("logs", epilog="Example: runbake batch logs job.json")
@_job_argument
def logs_command(job: str, region: str) -> None:
    """Print what the JOB's container said, its last megabyte; before its end, the machine's console."""
    handle = _handle(job, region)
    body = handle.read("container.log", _LOG_BYTES)
    if body is None:
        settings().console.print("  no log yet; the machine's console:", highlight=False)
        body = Machines(handle.region).console(handle.instance_id).encode()
    click.echo(body.decode(errors="replace"), nl=not body.endswith(b"\n"))


@click.command("cancel", epilog="Example: runbake batch cancel job.json")
@_job_argument
def cancel_command(job: str, region: str) -> None:
    """End the JOB's machine. The parts that are done stay; submitted again, the job goes on after them."""
    handle = _handle(job, region)
    if (machine := handle.machine()) is None or not machine.alive:
        click.echo(f"{handle.job_id} has ended before")
        return
    Machines(handle.region).end(handle.instance_id)
    click.echo(f"{handle.job_id} is being ended: {handle.instance_id}")


@click.command("list", epilog="Example: runbake batch list --region eu-central-1 --older-than 48 --end")
@click.option("--region", envvar="AWS_REGION", show_envvar=True, required=True, help="Where.")
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="A machine that runs for longer is called forgotten.",
)
@click.option("--end", "ends", is_flag=True, help="End the forgotten ones.")
def list_command(region: str, hours: float, ends: bool) -> None:
    """List the machines of submitted jobs that EC2 knows: job, instance, state, start, run."""
    machines, before = Machines(region), datetime.now(UTC) - timedelta(hours=hours)
    for machine in machines.tagged(TAG_JOB):
        forgotten = machine.alive and machine.launched_at <= before
        if forgotten and ends:
            machines.end(machine.instance_id)
        state = ("ended now" if ends else "forgotten?") if forgotten else machine.state
        words = (
            *(machine.tags[TAG_JOB], machine.instance_id, state, f"{machine.launched_at:%Y-%m-%dT%H:%MZ}"),
            machine.tags.get(LABEL_RUN_ID, ""),
        )
        click.echo("\t".join(map(one_line, words)))
