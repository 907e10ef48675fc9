"""`trace`: from anything back to the run."""

from __future__ import annotations

import json
import re
from typing import Literal, assert_never

import click
from rich.markup import escape

from runbake.ami import TAG_IMAGE
from runbake.aws import Ec2
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
from runbake.errors import EngineMissing, InvalidReference, RegistryError, TraceError, TrackingError
from runbake.gocd import place_of
from runbake.image import Digest
from runbake.published import read_published
from runbake.redaction import redacted
from runbake.registry import ImageRef
from runbake.runtime import provenance_of_url
from runbake.trace import Chain, Link, chain_of_label_file, chain_of_run, with_run_page
from runbake.tracking import RunRef
from runbake_serving.contract import LABEL_PROVENANCE_DIGEST, LABEL_RUN_ID, PROVENANCE_FILE

Shape = Literal["gocd", "server", "run", "ami", "container", "image"]

_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_AMI = re.compile(r"ami-[0-9a-f]{8,17}")
_RUN = re.compile(r"[0-9a-f]{32}$|runs:/|models:/")
_ATTEMPTS = 2
"""A person waits for the answer."""

_ACCEPTED = (
    "write an image as HOST/NAME:TAG or HOST/NAME@sha256:…, a container's name or id, a server as "
    "http://HOST:PORT, a page of GoCD as its URL, an AMI as ami-…, a run as its id (32 hex digits), runs:/… "
    "or models:/…"
)


@click.command("trace", epilog="Example: runbake trace http://127.0.0.1:8080")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print the chain as JSON.")
@tracking_option
@insecure_registry_option
def trace_command(ref: str, as_json: bool, tracking_uri: str | None) -> None:
    """Follow REF to its run: an image, AMI, container, URL of a server or of GoCD; or what came of a RUN.

    Images, containers and servers tell the whole chain themselves; MLflow is asked only whether the run is
    still there. RUN is a run id, runs:/ID[/NAME], models:/m-ID, models:/NAME/VERSION or models:/NAME@ALIAS.
    """
    chain = _chain(ref, tracking_uri)
    if tracking_uri:
        chain = _asked_mlflow(chain, tracking_uri)
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
    if _AMI.fullmatch(ref):
        return "ami"
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
        case "ami":
            return _of_ami(ref)
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
    stop = ("ami", f"{image_id} {ami.name}")
    try:
        return _of_image(reference, stop)
    except RegistryError as error:
        _note(str(error))
        told = (stop, ("image", reference), ("run", run_id))
        return Chain(links=tuple(Link(stop=kind, text=redacted(text)) for kind, text in told), run_id=run_id)


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
        _note(str(error))
        return chain


def _note(text: str) -> None:
    settings().console.print(f"[yellow]note:[/] {escape(one_line(text))}", highlight=False, soft_wrap=True)
