"""`batch`: the image's offline job on this machine, and what an output tells."""

from __future__ import annotations

import json
from pathlib import Path

import click

from runbake.batch import Output, distributions, needs_of, page_of, read_output
from runbake.cli.context import (
    cache_option,
    engine_auth,
    insecure_registry_option,
    open_engine,
    open_registries,
    open_tracking,
    settings,
    tracking_option,
)
from runbake.cli.jobs import cancel_command, list_command, logs_command, status_command, wait_command
from runbake.cli.recording import batch_tags, record_on_run
from runbake.cli.story import TerminalStory, one_line
from runbake.cli.submitting import submit_command
from runbake.cli.trace import shape_of
from runbake.errors import ConfigError, TraceError
from runbake.output import written
from runbake.published import Published, read_published
from runbake.registry import ImageRef, is_loopback
from runbake.runtime import run_batch
from runbake.store import Store
from runbake.tracking import RunRef

_COMPLETE = (0, 73)
"""Statuses of a job that wrote its manifest: without and with rejected rows."""

_IMAGE_TAG = "runbake.image"
"""Names the run's latest image."""


@click.group(
    "batch",
    epilog="Example: runbake batch run localhost:5000/fraud:run-0123456789ab --input day.csv --output scores",
)
def batch_group() -> None:
    """Score files with an image, here or on a machine of its own, and read what it wrote."""


for _command in (submit_command, status_command, wait_command, logs_command, cancel_command, list_command):
    batch_group.add_command(_command)


@batch_group.command(
    "run",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: runbake batch run localhost:5000/fraud:run-0123456789ab --input day.csv --output scores "
    "--output-format csv",
)
@click.argument("ref")
@click.option("--input", "inputs", multiple=True, metavar="URI", help="File, directory or glob; repeatable.")
@click.option("--output", metavar="URI", help="A directory or s3:// prefix of its own.")
@click.option("--spec", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="The job as JSON.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--repository",
    envvar="RUNBAKE_REPOSITORY",
    show_envvar=True,
    metavar="HOST/NAME",
    help="Where images of a RUN are; its tag may name no other.  [default: containerize's in runbake.toml]",
)
@tracking_option
@insecure_registry_option
@cache_option
def run_command(
    ref: str,
    inputs: tuple[str, ...],
    output: str | None,
    spec: Path | None,
    options: tuple[str, ...],
    repository: str | None,
    tracking_uri: str | None,
    cache: Path,
) -> None:
    """Do a batch job with the image REF, or the one of a RUN, in a container on this machine.

    Every other option is the image's own (docs/batch.md has their table): --keep, --max-rejects, --column …
    Local files keep their paths in the container; it reads the inputs and writes the output, and has no
    network unless something is on s3://. The exit status is the job's: 0 complete, 73 with rejected rows,
    74 failed, 75 incomplete, 78 no such job.
    """
    needs = needs_of(inputs, output, spec, options)
    story = TerminalStory(settings().console)
    image, run_id = image_of(ref, tracking_uri, repository, remote=needs.remote)
    with story.step("pull") as step:
        engine = open_engine()
        published = read_published(image, open_registries()(image.host), platform=engine.platform)
        check_run(published, run_id)
        pulled = engine.pull(image.repository, published.digest, engine_auth(image.host))
        step.say(pulled)
    cloud = {name: value for name, value in settings().environment.items() if name.startswith("AWS_")}
    store = Store(cache)
    with store.scratch() as scratch, store.marked() as mark:
        status, said = run_batch(
            engine,
            pulled,
            needs,
            cloud if needs.remote else {},
            lambda text: click.echo(text, err=True, nl=False),
            scratch=scratch,
            mark=mark,
        )
    click.echo(said, nl=False)
    if status in _COMPLETE:
        record_on_run(
            batch_tags(needs.target), _run_id_of(published), tracking_uri, story, what="the batch output"
        )
    click.get_current_context().exit(status)


def image_of(
    ref: str, tracking_uri: str | None, repository: str | None, *, remote: bool
) -> tuple[ImageRef, str]:
    """The image to run, and the run that it has to be of; "" where the image itself was named."""
    if shape_of(ref) != "run":
        return ImageRef.parse(ref), ""
    record = open_tracking(tracking_uri).record_of(RunRef.parse(ref))
    told = dict(record.stops).get(_IMAGE_TAG)
    if told is None:
        raise TraceError(f"{ref} has no image yet", hint=f"runbake containerize {ref} --repository HOST/NAME")
    image = ImageRef.parse(told)
    check_followed(image, repository or _repository_of_file(), remote=remote)
    return image, record.run_id


def _repository_of_file() -> str | None:
    """Where `containerize` pushes to by runbake.toml."""
    defaults = click.get_current_context().find_root().default_map or {}
    found = defaults.get("containerize", {}).get("repository")
    return str(found) if found else None


def check_followed(image: ImageRef, repository: str | None, *, remote: bool) -> None:
    """Whether a run's tag, which whoever may write to MLflow sets, may choose what runs here.

    Raises:
        TraceError: it names another repository than ours; or which is ours is not known, and the image is
            of another machine, or would get this one's cloud credentials (`remote`).
    """
    hint = f"if you trust it, name the image itself: runbake batch run {image}"
    if repository is not None:
        ours = ImageRef.parse(repository).repository
        if image.repository != ours:
            raise TraceError(f"the run's tag {_IMAGE_TAG} names {image}, which is not in {ours}", hint=hint)
    elif remote or not is_loopback(image.host):
        raise TraceError(
            f"the run's tag {_IMAGE_TAG} names {image}; anybody who may write to MLflow can set it",
            hint=f"name your repository with --repository or RUNBAKE_REPOSITORY; or, {hint}",
        )


def check_run(published: Published, run_id: str) -> None:
    """Whether the image is of this run, "" for any.

    Raises:
        TraceError: its label file names another run.
    """
    found = _run_id_of(published)
    if run_id and found != run_id:
        raise TraceError(f"{published.ref} is an image of the run {found!r:.80}, not of {run_id}")


def _run_id_of(published: Published) -> str:
    run = published.label_file.get("run")
    return str(run.get("id", "")) if isinstance(run, dict) else ""


@batch_group.command("show", epilog="Example: runbake batch show scores")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest, or the plan of an incomplete job.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page with histograms of predictions and rejects, too; reads the whole output.",
)
def show_command(output: Path, as_json: bool, html: Path | None) -> None:
    """Tell what a batch job wrote to the directory OUTPUT: rows, rejects, pace, and the run behind it."""
    found = read_output(output)
    if html is not None:
        _write_page(found, output, html)
    if as_json:
        click.echo(json.dumps(found.document, indent=1, ensure_ascii=False))
        return
    for stop, text in found.lines:
        click.echo(f"  {stop:<12}{one_line(text)}")


def _write_page(found: Output, root: Path, html: Path) -> None:
    if not found.complete:
        raise TraceError(f"{root} is not complete, and has no page yet", hint="the same command continues")
    with TerminalStory(settings().console).step("page") as step:
        spread = distributions(root, found.document)
        page = page_of(found, spread, title=f"Batch output {root.resolve().name}")
        try:
            with written(html) as file:
                file.write(page.encode("utf-8", "replace"))
        except OSError as error:
            raise ConfigError(f"{html} cannot be written: {error.strerror}") from error
        step.say(str(html))
