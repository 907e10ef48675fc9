"""`deploy`, `undeploy` and `deployments`: the image in service."""

from __future__ import annotations

import json
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from runbake.cli.context import (
    engine_auth,
    insecure_registry_option,
    open_engine,
    open_registries,
    reach_engine,
    settings,
    tracking_option,
)
from runbake.cli.image_ref import image_ref
from runbake.cli.recording import record_on_run
from runbake.cli.story import TerminalStory, one_line
from runbake.deploy import (
    LABEL_ADDRESS,
    LABEL_NAME,
    Deployed,
    Hands,
    Limits,
    Order,
    Service,
    Subject,
    Workload,
    checked_address,
    checked_name,
    compose_of,
    deploy,
    ecs_of,
    endpoint_tags,
    environment_of,
    kubernetes_of,
    memory_of,
    roll_back,
    row_of,
    services_of,
    undeploy,
    url_of,
    workload_of,
)
from runbake.errors import ConfigError
from runbake.gocd import invocation_of
from runbake.published import Published, read_published
from runbake.registry import ImageRef
from runbake.report import reported
from runbake.runtime import Standing

_MANIFESTS: dict[str, Callable[[Workload], str]] = {
    "compose": compose_of,
    "kubernetes": kubernetes_of,
    "ecs": ecs_of,
}
_SCHEMA = "https://runbake.dev/schema/deployment/v1"


@click.command(
    "deploy", epilog="Example: runbake deploy localhost:5000/fraud@sha256:0123… --name fraud --port 9000"
)
@click.argument("image", required=False)
@click.option("--name", required=True, metavar="NAME", help="The service: its container is called so.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the engine's host.  [default: the one it has, else 8080]",
)
@click.option(
    "--bind", metavar="IP", help="Address of the engine's host.  [default: the one it has, else 127.0.0.1]"
)
@click.option("--rollback", is_flag=True, help="In place of IMAGE: the deployment before the current one.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(1, 86_400),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="A new server that is not ready within this time is removed.",
)
@click.option("--memory", default="", metavar="SIZE", help="Most memory it may have, such as 512m or 2g.")
@click.option("--cpus", type=click.FloatRange(0.01, 1024), help="Most CPUs it may use, such as 1.5.")
@click.option(
    "--env",
    "env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable for the server; without a value it is taken from here. Repeat for more.",
)
@click.option(
    "--env-file",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file of such lines.",
)
@click.option(
    "--print",
    "manifest",
    type=click.Choice(sorted(_MANIFESTS)),
    help="Deploy nothing: print the manifest for another engine.",
)
@click.option("--endpoint", default="", metavar="URL", help="What the run is told of where it is in service.")
@click.option("--from-gocd", is_flag=True, help="Tell the GoCD job that runs this in the --report.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was deployed as a JSON document for the next stage; on failure too.",
)
@insecure_registry_option
@tracking_option
def deploy_command(image: str | None, **options: Any) -> None:
    """Put IMAGE into service on the container engine, without losing a request.

    IMAGE is a reference by digest or tag, or the image.json of `containerize`. The new container starts
    beside the old one on the same port, proves ready, and the old one answers what it has. Prints the URL.
    """
    name = checked_name(options["name"])
    if bool(image) == options["rollback"]:
        raise click.UsageError("name one thing to deploy: IMAGE or --rollback")
    if options["manifest"]:
        if image is None:
            raise click.UsageError("--print wants IMAGE")
        click.echo(_manifest(image, name, options), nl=False)
        return
    report: Path | None = options["report"]
    job = invocation_of(settings().environment).to_json() if options["from_gocd"] else None
    with reported(report, asked=f"{image or '--rollback'} --name {name}", schema=_SCHEMA, gocd=job) as told:
        told.update(_in_service(image, name, options))
    click.echo(told["url"])


def _in_service(image: str | None, name: str, options: Mapping[str, Any]) -> dict[str, object]:
    """Put it into service, and tell the run; what the report says of it."""
    hands = _hands()
    done = _rolled_back(name, hands, options) if image is None else _deployed(image, name, hands, options)
    url = options["endpoint"] or _url(done.published)
    tags = endpoint_tags(name, url, at=done.at, run_id=done.subject.run_id, replaced=done.replaced)
    _record(tags, options["tracking_uri"])
    return {
        "name": name,
        "url": url,
        "reference": done.subject.reference,
        "digest": done.subject.digest,
        "run": done.subject.run_id,
        "at": done.at,
    }


@click.command("undeploy", epilog="Example: runbake undeploy fraud")
@click.argument("name")
@click.option("--endpoint", default="", metavar="URL", help="As with `deploy`.")
@tracking_option
def undeploy_command(name: str, endpoint: str, tracking_uri: str | None) -> None:
    """Take the service NAME out: it answers what it has, then everything made for it is removed."""
    hands, name = _hands(), checked_name(name)
    before = undeploy(name, hands)
    if address := before.get(LABEL_ADDRESS, ""):
        url = endpoint or _url(address)
        _record(endpoint_tags(name, url, at=_now(), run_id="", replaced=before), tracking_uri)


@click.command("deployments", epilog="Example: runbake deployments --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def deployments_command(as_json: bool) -> None:
    """List what is in service on the container engine."""
    rows = [row_of(service) for service in _services(Standing(reach_engine(), LABEL_NAME))]
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if not rows:
        settings().console.print("nothing is deployed")
        return
    shown = ("name", "state", "address", "run", "since", "image")
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(one_line(row[column]) for column in shown))
        return
    table = Table(*shown, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(one_line(row[column]), overflow="fold") for column in shown))
    settings().console.print(table)


def _services(standing: Standing) -> tuple[Service, ...]:
    return services_of(standing.all())


def _hands() -> Hands:
    return Hands(
        engine=open_engine(),
        now=_now,
        token=lambda: secrets.token_hex(4),
        story=TerminalStory(settings().console),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _deployed(image: str, name: str, hands: Hands, options: Mapping[str, Any]) -> Deployed:
    environment, _ = _environment(options)
    ref, limits = image_ref(image), _limits(options)
    address = checked_address(options["bind"]) if options["bind"] else None
    with hands.story.step("pull") as step:
        published = read_published(ref, open_registries()(ref.host), platform=hands.engine.platform)
        pulled = hands.engine.pull(ref.repository, published.digest, engine_auth(ref.host))
        step.say(pulled)
    order = Order(
        name=name,
        subject=_subject(ref, published),
        image=hands.engine.image_id(pulled),
        address=address,
        port=options["port"],
        environment=environment,
        limits=limits,
        timeout_s=float(options["timeout_s"]),
    )
    return deploy(order, hands)


def _rolled_back(name: str, hands: Hands, options: Mapping[str, Any]) -> Deployed:
    given = [flag for flag in ("port", "bind", "memory", "cpus", "env", "env_file") if options[flag]]
    if given:
        raise click.UsageError(
            f"--rollback takes back everything; it goes without --{given[0].replace('_', '-')}"
        )
    return roll_back(name, hands, timeout_s=float(options["timeout_s"]))


def _manifest(image: str, name: str, options: Mapping[str, Any]) -> str:
    environment, hidden = _environment(options)
    ref = image_ref(image)
    published = read_published(ref, open_registries()(ref.host))
    workload = workload_of(
        name=name,
        subject=_subject(ref, published),
        address=checked_address(options["bind"]) if options["bind"] else "127.0.0.1",
        port=options["port"] or 8080,
        environment=environment,
        hidden=hidden,
        limits=_limits(options),
    )
    return _MANIFESTS[str(options["manifest"])](workload)


def _environment(options: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    files = []
    for path in options["env_file"]:
        try:
            files.append(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--env-file {path} cannot be read: {type(error).__name__}") from error
    return environment_of(options["env"], files, settings().environment)


def _limits(options: Mapping[str, Any]) -> Limits:
    return Limits(memory_bytes=memory_of(options["memory"]), cpus=options["cpus"] or 0.0)


def _subject(ref: ImageRef, published: Published) -> Subject:
    return Subject(
        reference=f"{ref.repository}@{published.root}", digest=str(published.root), labels=published.labels
    )


def _url(published: str) -> str:
    engine_host = settings().environment.get("DOCKER_HOST", "")
    return url_of(published, engine_host=engine_host, hostname=socket.gethostname())


def _record(tags: Mapping[str, Mapping[str, str]], tracking_uri: str | None) -> None:
    """Write on the runs where they are in service; a failure is a warning, as the service serves."""
    story = TerminalStory(settings().console)
    for run_id, wanted in tags.items():
        record_on_run(wanted, run_id, tracking_uri, story, what="the endpoint")
