"""`gocd`: what GoCD needs of runbake, beside `--from-gocd`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from runbake.cli.ami import bake_options
from runbake.cli.context import open_tracking, promote_tag_option, settings, tracking_option
from runbake.cli.in_gocd import open_gocd
from runbake.cli.story import one_line
from runbake.deploy import checked_name
from runbake.errors import ConfigError
from runbake.gocd import (
    MOST_BYTES,
    AliasedVersions,
    Pace,
    PipelineOrder,
    PipelineRun,
    Routes,
    Secret,
    TaggedRuns,
    Watcher,
    document_page,
    invocation_of,
    pending,
    pipeline_yaml,
    wanted_run,
)
from runbake.output import written
from runbake.tracking import RunRef, Tracking


@click.group(
    "gocd",
    epilog="Example: runbake gocd trigger --watch --server https://ci.example.org:8154/go --pipeline fraud",
)
def gocd() -> None:
    """Promotions start GoCD pipelines; see docs/gocd.md."""


@gocd.command(
    epilog="Example: runbake gocd trigger --once --server https://ci.example.org/go --pipeline fraud=fraud"
)
@click.option("--once", "how", flag_value="once", help="Trigger what is promoted, and end: for cron.")
@click.option("--watch", "how", flag_value="watch", help="Go on until stopped: for a service.")
@click.option(
    "--run", "run", metavar="RUN", help="Trigger this run, also once more: a rollback, a repetition."
)
@click.option("--dry-run", is_flag=True, help="List what would be triggered, and ask GoCD for nothing.")
@click.option(
    "--server",
    envvar=["RUNBAKE_GOCD_SERVER", "GO_SERVER_URL"],
    show_envvar=True,
    metavar="URL",
    help="GoCD with its context root. GOCD_TOKEN, or GOCD_USERNAME and GOCD_PASSWORD, hold credentials.",
)
@click.option(
    "--pipeline",
    "pipelines",
    multiple=True,
    required=True,
    metavar="[NAME=]PIPELINE",
    help="The pipeline of experiment (with --alias: model) NAME, or of every other one; repeat for more.",
)
@click.option("--alias", default="", metavar="ALIAS", help="Watch this alias of the registry, not the tag.")
@click.option("--since", default="", metavar="RFC3339", help="Leave alone what was promoted before.")
@click.option(
    "--poll",
    "poll_s",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: how often MLflow is asked.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="With --once and --run: how long a busy pipeline is waited for.",
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=5),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="A run that GoCD accepted and that does not appear within this time is asked for again.",
)
@click.option(
    "--retry",
    "retry_s",
    type=click.FloatRange(min=0.01),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="Between two steps of a promotion under way, as long as its pipeline is busy.",
)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(min=0),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="Before scheduling, another watcher's claim is waited for so long.",
)
@tracking_option
@promote_tag_option
def trigger(**options: Any) -> None:
    """Start GoCD pipelines for promoted runs: each promotion once, in order; print the pipeline runs.

    A pipeline needs the variables RUNBAKE_RUN_ID and RUNBAKE_REQUEST, and RUNBAKE_REQUEST in its label;
    `runbake gocd pipeline` writes such a one. What was triggered is remembered on the run.
    """
    how, run = options["how"], options["run"]
    if bool(how) == bool(run) and not options["dry_run"]:
        raise click.UsageError("say one of --once, --watch and --run RUN")
    tracking = open_tracking(options["tracking_uri"], promote_tag=options["promote_tag"])
    routes = Routes.parse(options["pipelines"])
    promotions = _promotions(tracking, routes, options)
    if options["dry_run"]:
        for wanted in pending(promotions.read()):
            told = {"run": wanted.run_id, "of": wanted.of, "pipeline": wanted.pipeline}
            click.echo(json.dumps({**told, "request": wanted.request}))
        return
    watcher = Watcher(
        promotions,
        open_gocd(options["server"]),
        clock=Monotonic(),
        pace=Pace(**{name: options[name] for name in ("poll_s", "retry_s", "settle_s", "grace_s")}),
        me=secrets.token_hex(8),
        tell=_tell,
        found=_found,
    )
    if run:
        if not routes.others or routes.listed:
            raise click.UsageError("--run wants one --pipeline PIPELINE")
        ref = RunRef.parse(run)
        watcher.trigger(wanted_run(tracking, ref, routes.others), wait_s=options["wait_s"])
    elif how == "once":
        watcher.once(wait_s=options["wait_s"])
    else:
        watcher.watch()


@gocd.command(epilog="Example: runbake gocd bridge --host 10.0.0.5 --tracking-uri https://mlflow.example.org")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on: the GoCD server's network."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5080, show_default=True, help="Port to listen on."
)
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate, for https.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its private key.")
@click.option("--list", "listed", is_flag=True, help="Print the number of each experiment for GoCD, and end.")
@tracking_option
@promote_tag_option
def bridge(
    host: str,
    port: int,
    tls_cert: str | None,
    tls_key: str | None,
    listed: bool,
    tracking_uri: str | None,
    promote_tag: str,
) -> None:
    """Let the mlflow-gocd plugin, as published, work with a current MLflow: MLFLOW_URL is this server.

    It only reads. Whoever reaches it sees which runs are promoted: the plugin has no way to log in.
    """
    try:
        import uvicorn

        from runbake.gocd.bridge import Bridge, bridge_app
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the bridge needs the Python package {error.name!r}", hint="pip install 'runbake[gocd]'"
        ) from error
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    made = Bridge(open_tracking(tracking_uri, promote_tag=promote_tag), tag=promote_tag, tell=_tell)
    if listed:
        click.echo(made.listing(), nl=False)
        return
    uvicorn.run(
        bridge_app(made),
        host=host,
        port=port,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        log_level="info",
        server_header=False,
        limit_concurrency=64,
        timeout_keep_alive=20,
    )


@gocd.command(
    "pipeline",
    epilog="Example: runbake gocd pipeline --model fraud --git https://git.example.org/ml.git "
    "--tracking-uri https://mlflow.example.org --base registry.example.org/base:py311 "
    "--repository registry.example.org/fraud",
)
@click.option("--model", required=True, metavar="NAME", help="Names the pipeline, the file and the service.")
@click.option("--group", default="models", show_default=True, metavar="NAME", help="The pipeline group.")
@click.option("--package", default="", metavar="ID", help="The id of the mlflow-gocd package that starts it.")
@click.option("--git", default="", metavar="URL", help="Without a package: the material that GoCD asks for.")
@click.option("--branch", default="main", show_default=True, help="Of --git.")
@click.option("--base", envvar="RUNBAKE_BASE", required=True, metavar="IMAGE", help="The base image.")
@click.option(
    "--repository", envvar="RUNBAKE_REPOSITORY", required=True, metavar="HOST/NAME", help="Where to push."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Where the deploy stage serves.")
@click.option("--test-data", default="", metavar="URI", help="Add a stage that evaluates on these rows.")
@click.option("--target", "targets", multiple=True, metavar="COLUMN", help="With --test-data: the truth.")
@click.option("--gate", "gates", multiple=True, metavar="KEY=VALUE,…", help="Of `evaluate`; repeat for more.")
@click.option(
    "--ami",
    "ami_texts",
    multiple=True,
    metavar="OPTION=VALUE",
    help="Add a stage that bakes an AMI: an option of `ami bake`, such as region=eu-central-1; repeat.",
)
@click.option("--resource", "resources", multiple=True, help="A resource that agents need; repeat for more.")
@click.option(
    "--secret",
    "secret_texts",
    multiple=True,
    metavar="VARIABLE=CONFIG:KEY",
    help="A variable from a secret configuration of GoCD, such as MLflow's password; repeat for more.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Where NAME.gocd.yaml is written.  [default: this directory]",
)
@tracking_option
def pipeline_command(
    directory: Path, secret_texts: tuple[str, ...], ami_texts: tuple[str, ...], **options: Any
) -> None:
    """Write NAME.gocd.yaml: containerize, evaluate if asked, after an approval deploy, and ami if asked.

    With --package the plugin starts it, with --git `runbake gocd trigger` does. Prints the file's name.
    """
    # The deploy stage serves under this name.
    checked_name(options["model"])
    options["tracking_uri"] = options["tracking_uri"] or ""
    secrets, ami = tuple(map(Secret.parse, secret_texts)), bake_options(ami_texts)
    order = PipelineOrder(**options, secrets=secrets, ami=ami)
    path = directory / f"{order.model}.gocd.yaml"
    text = pipeline_yaml(order)
    try:
        with written(path) as out:
            out.write(text.encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="name another --directory"
        ) from error
    click.echo(str(path))


@gocd.command("page", epilog="Example: runbake gocd page image.json --output image.html")
@click.argument("document", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The page, which belongs beside the document.",
)
@click.option("--keep", is_flag=True, help="Leave a page that is there: the command's own.")
def page_command(document: Path, output: Path, keep: bool) -> None:
    """Show a stage's DOCUMENT as an HTML page for a tab of GoCD; also one that is missing.

    The page loads nothing and escapes everything; in a job it leads to the job and the value stream map.
    """
    if keep and output.is_file():
        return
    environment = settings().environment
    job = invocation_of(environment) if environment.get("GO_PIPELINE_NAME") else None
    try:
        with written(output) as out:
            out.write(document_page(_body_of(document), name=document.name, job=job).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}", hint="name another --output") from error


def _body_of(document: Path) -> bytes:
    try:
        with document.open("rb") as file:
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigError(
            f"cannot read {document}: {error.strerror}", hint="name another document"
        ) from error


class Monotonic:
    """This machine's clock that never goes back."""

    def now_s(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def _promotions(tracking: Tracking, routes: Routes, options: Mapping[str, Any]) -> TaggedRuns:
    since_ms = _since_ms(options["since"])
    if options["alias"]:
        return AliasedVersions(tracking, routes, alias=options["alias"], tell=_tell, since_ms=since_ms)
    return TaggedRuns(tracking, routes, since_ms=since_ms)


def _since_ms(text: str) -> int:
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--since is not RFC 3339: {text!r}", hint="like 2026-11-20T00:00:00Z") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _tell(text: str) -> None:
    settings().console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)


def _found(run: PipelineRun) -> None:
    click.echo(run.url)
