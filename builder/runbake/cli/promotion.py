"""`promote`, `demote` and `promoted`: the tag that starts everything."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from runbake.cli.context import open_tracking, promote_tag_option, settings, tracking_option
from runbake.cli.story import one_line
from runbake.provenance import rfc3339
from runbake.tracking import Change, RunRef

_NOT_SET = "(not set)"


@click.command(epilog="Example: runbake promote runs:/0123456789abcdef0123456789abcdef/model")
@click.argument("run")
@tracking_option
@promote_tag_option
def promote(run: str, tracking_uri: str | None, promote_tag: str) -> None:
    """Mark RUN as promoted, and when.

    RUN is a run id, runs:/ID[/NAME], models:/m-ID, models:/NAME/VERSION or models:/NAME@ALIAS.
    """
    ref, now_ms = RunRef.parse(run), int(datetime.now(UTC).timestamp() * 1000)
    run_id, changes = open_tracking(tracking_uri, promote_tag=promote_tag).promote(ref, now_ms=now_ms)
    _tell(changes)
    click.echo(run_id)


@click.command(epilog="Example: runbake demote 0123456789abcdef0123456789abcdef")
@click.argument("run")
@tracking_option
@promote_tag_option
def demote(run: str, tracking_uri: str | None, promote_tag: str) -> None:
    """Take the promotion of RUN back; images made from it stay."""
    run_id, changes = open_tracking(tracking_uri, promote_tag=promote_tag).demote(RunRef.parse(run))
    _tell(changes)
    click.echo(run_id)


def _tell(changes: tuple[Change, ...]) -> None:
    """Say on stderr what each tag was and is; stdout has the run's id alone."""
    for change in changes:
        was, now = (_NOT_SET if value is None else value for value in (change.before, change.after))
        text = f"{change.tag}: {was} -> {now}" if was != now else f"{change.tag}: {now}, as before"
        click.echo(f"  {one_line(text)}", err=True)


@click.command(epilog="Example: runbake promoted --experiment fraud --json")
@click.option("--experiment", metavar="NAME", help="Only the runs of this experiment.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@tracking_option
@promote_tag_option
def promoted(experiment: str | None, as_json: bool, tracking_uri: str | None, promote_tag: str) -> None:
    """List promoted runs, the latest promotion first."""
    found = open_tracking(tracking_uri, promote_tag=promote_tag).promoted(experiment)
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in found], indent=1))
        return
    for entry in found:
        when = (
            rfc3339(entry.promoted_at_ms) if entry.promoted_at_ms else f"{rfc3339(entry.end_time_ms)} (end)"
        )
        told = f"{entry.run_id}  {when:<26}  {entry.status:<8}  {entry.experiment_name}: {entry.run_name}"
        click.echo(one_line(told))
    if not found:
        settings().console.print("no promoted run")
