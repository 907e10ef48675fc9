"""`trace`: from anything back to the run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal, assert_never

import click
from rich.markup import escape

from runbake.ami import TAG_IMAGE
from runbake.aws import Ec2, Machines, read_object
from runbake.cli.context import (
    insecure_registry_option,
    open_registries,
    open_tracking,
    reach_engine,
    settings,
    tracking_option,
)
from runbake.cli.in_gocd import chain_of_gocd
from runbake.cli.story import one_line
from runbake.deploy import LABEL_REFERENCE
from runbake.errors import (
    ConfigError,
    EngineMissing,
    InvalidReference,
    RegistryError,
    TraceError,
    TrackingError,
)
from runbake.gocd import place_of
from runbake.image import Digest
from runbake.jobs import TAG_JOB, TAG_LOGS
from runbake.output import written
from runbake.published import read_published
from runbake.redaction import redacted
from runbake.registry import ImageRef
from runbake.runtime import provenance_of_url
from runbake.trace import (
    Chain,
    chain_of_label_file,
    chain_of_run,
    chain_of_words,
    page_of,
    stop_of_file,
    with_run_page,
)
from runbake.tracking import RunRef
from runbake_serving.contract import BATCH_MANIFEST, LABEL_PROVENANCE_DIGEST, LABEL_RUN_ID, PROVENANCE_FILE

Shape = Literal["gocd", "server", "run", "aws", "file", "container", "image"]

_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_AWS = re.compile(r"(?:ami|i)-[0-9a-f]{8,17}")
_FILE = re.compile(r"\.{0,2}/.*|s3://.+|.+\.(?:json|txt|headers)", re.DOTALL)
_FILE_BYTES = 256 << 20
_RUN = re.compile(r"[0-9a-f]{32}$|runs:/|models:/")
_ATTEMPTS = 2
"""A person waits for the answer."""

_ACCEPTED = (
    "write an image as HOST/NAME:TAG or HOST/NAME@sha256:…, a container's name or id, a server as "
    "http://HOST:PORT, a page of GoCD as its URL, an AMI as ami-…, a machine as i-…, a file or a batch "
    "output as ./FILE, FILE.json or s3://…, a run as its id (32 hex digits), runs:/… or models:/…"
)


@click.command("trace", epilog="Example: runbake trace http://127.0.0.1:8080")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print the chain as JSON.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it as a page, too."
)
@tracking_option
@insecure_registry_option
def trace_command(ref: str, as_json: bool, html: Path | None, tracking_uri: str | None) -> None:
    """Follow REF to its run: image, AMI, machine, container, server, batch output; or what came of a RUN.

    Also the documents of stages (image.json, deployment.json, ami.json, job.json, evaluation.json), pages of
    GoCD, and response headers saved by `curl --dump-header`.

    Images, containers and servers tell the whole chain themselves; MLflow is asked only whether the run is
    still there. RUN is a run id, runs:/ID[/NAME], models:/m-ID, models:/NAME/VERSION or models:/NAME@ALIAS.
    """
    chain = _chain(ref, tracking_uri)
    if tracking_uri:
        chain = _asked_mlflow(chain, tracking_uri)
    for text in chain.missed:
        _note(text)
    if html is not None:
        _write(html, page_of(chain, title=f"Trace of {redacted(ref)[:200]}"))
    if as_json:
        click.echo(json.dumps(chain.to_json(), indent=1, ensure_ascii=False))
        return
    for link in chain.links:
        click.echo(f"  {link.stop:<12}{one_line(link.text)}")


def shape_of(ref: str) -> Shape:
    """What a reference is, by its looks alone: nothing is asked to find out.

    Raises:
        InvalidReference: it is none of them; the hint lists them.
    """
    if ref.lower().startswith(("http://", "https://")):
        return "gocd" if place_of(ref) is not None else "server"
    if _RUN.match(ref):
        return "run"
    if _AWS.fullmatch(ref):
        return "aws"
    if _FILE.fullmatch(ref):
        return "file"
    if _CONTAINER.fullmatch(ref):
        return "container"
    if "/" in ref and "://" not in ref:
        return "image"
    raise InvalidReference(f"nothing that can be traced is written so: {ref[:200]!r}", hint=_ACCEPTED)


def _chain(ref: str, tracking_uri: str | None) -> Chain:
    match shape_of(ref):
        case "gocd":
            return chain_of_gocd(ref, tracking_uri)
        case "server":
            return chain_of_label_file(provenance_of_url(ref), ("server", redacted(ref)))
        case "run":
            run = RunRef.parse(ref)
            return chain_of_run(open_tracking(tracking_uri), run)
        case "aws":
            return _of_ami(ref) if ref.startswith("ami-") else _of_machine(ref)
        case "file":
            return _of_file(ref, tracking_uri)
        case "container":
            return _of_container(ref)
        case "image":
            return _of_image(ref)
        case unknown:
            assert_never(unknown)


def _of_ami(image_id: str) -> Chain:
    """By the tags of an AMI of AWS_REGION; they alone lead to the run where the registry is gone."""
    ami = Ec2(settings().environment.get("AWS_REGION", "")).image(image_id)
    run_id, reference = ami.tags.get(LABEL_RUN_ID, ""), ami.tags.get(TAG_IMAGE, "")
    if not run_id or not reference:
        raise TraceError(
            f"{image_id} was not baked by runbake: it has no tags {LABEL_RUN_ID} and {TAG_IMAGE}"
        )
    return _of_reference(reference, run_id, ("ami", f"{image_id} {ami.name}"))


def _of_machine(instance_id: str) -> Chain:
    """By the tags of a machine of AWS_REGION that `batch submit` started."""
    machine = Machines(settings().environment.get("AWS_REGION", "")).machine(instance_id)
    tags = machine.tags if machine else {}
    run_id, reference = tags.get(LABEL_RUN_ID, ""), tags.get(TAG_IMAGE, "")
    if machine is None or not run_id or not reference:
        raise TraceError(
            f"{instance_id} was not started by runbake, or EC2 has forgotten it",
            hint="the job.json of `batch submit` leads on",
        )
    job = tags.get(TAG_JOB, "")
    return _of_reference(
        *(reference, run_id, ("machine", f"{instance_id} {machine.state}")),
        *(("job", f"{job} {tags.get(TAG_LOGS, '')}"), ("ami", machine.image_id)),
    )


def _of_file(name: str, tracking_uri: str | None) -> Chain:
    """By what a document or a batch output carries, and then by the image or run that it names."""
    stop = stop_of_file(redacted(name), _body_of(name))
    if stop.body:
        return chain_of_label_file(stop.body, *stop.told)
    if stop.reference:
        return _of_reference(stop.reference, stop.run, *stop.told)
    if not tracking_uri:
        return chain_of_words(stop.told, stop.run)
    try:
        chain = chain_of_run(open_tracking(tracking_uri), RunRef.parse(stop.run))
    except TrackingError as error:
        return chain_of_words(stop.told, stop.run).missing(str(error))
    return replace(chain, links=(*chain_of_words(stop.told, stop.run).links, *chain.links))


def _body_of(name: str) -> bytes:
    """The file, or the manifest of the output that is named."""
    if name.startswith("s3://"):
        uri = name if name.endswith(".json") else f"{name.rstrip('/')}/{BATCH_MANIFEST}"
        region = settings().environment.get("AWS_REGION", "")
        body = read_object(uri, region, most_bytes=_FILE_BYTES)
        if body is None:
            raise TraceError(f"there is no {uri}", hint="name a batch output that is complete")
        return body
    path = Path(name)
    try:
        with (path / BATCH_MANIFEST if path.is_dir() else path).open("rb") as file:
            return file.read(_FILE_BYTES)
    except OSError as error:
        raise TraceError(
            f"{error.filename or name} cannot be read: {error.strerror}", hint=_ACCEPTED
        ) from error


def _of_reference(reference: str, run_id: str, *before: tuple[str, str]) -> Chain:
    """Through the registry; where that is gone, what was said before it names the run."""
    try:
        return _of_image(reference, *before)
    except RegistryError as error:
        told = (*before, ("image", reference), ("run", run_id))
        return chain_of_words(told, run_id).missing(str(error))


def _of_image(ref: str, *before: tuple[str, str]) -> Chain:
    image = ImageRef.parse(ref)
    published = read_published(image, open_registries(attempts=_ATTEMPTS)(image.host))
    return chain_of_label_file(
        published.body,
        *before,
        ("image", f"{image.repository}@{published.root}"),
        ("platform", f"{published.platform} {published.digest}"),
    )


def _of_container(name: str) -> Chain:
    try:
        container = reach_engine().find_container(name)
    except EngineMissing as error:
        raise EngineMissing(f"{name!r} is taken for a container, but {error}", hint=_ACCEPTED) from error
    if container is None:
        raise TraceError(f"the engine has no container {name!r}", hint=_ACCEPTED)
    digest = container.labels.get(LABEL_PROVENANCE_DIGEST)
    if digest is None:
        raise TraceError(
            f"the container {name!r} runs {container.image}, which runbake did not make",
            hint="`runbake deployments` lists what runbake put into service",
        )
    body = container.read_file(PROVENANCE_FILE)
    if Digest.of(body) != digest:
        raise TraceError(f"the label file in the container {name!r} is not the one that its label names")
    # A rollback starts from the engine's own id of the image, which leads to no registry.
    image = container.labels.get(LABEL_REFERENCE) or container.image
    return chain_of_label_file(body, ("container", container.id[:12]), ("image", image))


def _asked_mlflow(chain: Chain, tracking_uri: str) -> Chain:
    try:
        return with_run_page(chain, open_tracking(tracking_uri))
    except TrackingError as error:
        return chain.missing(str(error))


def _write(path: Path, page: str) -> None:
    try:
        with written(path) as file:
            file.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", hint="name another --html"
        ) from error


def _note(text: str) -> None:
    settings().console.print(f"[yellow]note:[/] {escape(one_line(text))}", highlight=False, soft_wrap=True)
