"""`diff`: what is not the same in two runs or images."""

from __future__ import annotations

import json
import re
from itertools import groupby

import click

from runbake.cli.context import insecure_registry_option, open_registries, open_tracking, tracking_option
from runbake.cli.story import one_line
from runbake.diff import Difference, Side, differences
from runbake.errors import TraceError
from runbake.provenance import run_documents
from runbake.published import read_published
from runbake.registry import ImageRef
from runbake.tracking import RunRef

_RUN = re.compile(r"[0-9a-f]{32}|(?:runs|models):/.+")
_SHOWN = 120


@click.command("diff", epilog="Example: runbake diff models:/fraud/6 models:/fraud/7")
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@tracking_option
@insecure_registry_option
def diff_command(before: str, after: str, as_json: bool, tracking_uri: str | None) -> None:
    """Compare two runs (as RUN) or two images (HOST/NAME:TAG): what differs, and what breaks callers."""
    if bool(_RUN.fullmatch(before)) != bool(_RUN.fullmatch(after)):
        raise click.UsageError("compare two runs, or two images")
    found = differences(_side(before, tracking_uri), _side(after, tracking_uri))
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], indent=1, ensure_ascii=False))
        return
    for section, group in groupby(found, key=lambda each: each.section):
        click.echo(section)
        for each in group:
            click.echo(_line(each))
    if not found:
        click.echo("no difference")


def _line(each: Difference) -> str:
    before, after = (one_line(text)[:_SHOWN] or "-" for text in (each.before, each.after))
    breaks = f"   BREAKS CALLERS: {each.breaks}" if each.breaks else ""
    return f"  {one_line(each.what)[:_SHOWN]}: {before} -> {after}{breaks}"


def _side(name: str, tracking_uri: str | None) -> Side:
    return _run_side(name, tracking_uri) if _RUN.fullmatch(name) else _image_side(name)


def _image_side(name: str) -> Side:
    ref = ImageRef.parse(name)
    registry = open_registries()(ref.host)
    published = read_published(ref, registry)
    manifest = json.loads(registry.fetch_manifest(ref.name, str(published.digest)).body)
    try:
        layers = tuple((str(layer["digest"]), int(layer["size"])) for layer in manifest["layers"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise TraceError(f"the layers of {name} are malformed: {error!r}"[:500]) from error
    return Side(name=name, label_file=published.label_file, layers=layers)


def _run_side(name: str, tracking_uri: str | None) -> Side:
    tracking = open_tracking(tracking_uri)
    run = tracking.fetch_promoted_run(RunRef.parse(name), model_name="", allow_unpromoted=True)
    model = tracking.describe_model(run)
    label_file = {
        **run_documents(run),
        "model": {
            "signature": json.loads(model.signature_json) if model.signature_json else None,
            "files": [{"path": file.path, "size": file.size_bytes} for file in run.files],
        },
        "environment": {"lock": {"modelRequirements": list(model.requirements)}},
    }
    return Side(name=name, label_file=label_file)
