"""`trace`: from anything back to the run."""

from __future__ import annotations

import json
import re

import click
from rich.markup import escape

from runbake.cli.context import (
    insecure_registry_option,
    open_engine,
    open_registries,
    open_tracking,
    settings,
    tracking_option,
)
from runbake.cli.story import one_line
from runbake.errors import InvalidReference, TrackingError
from runbake.published import read_published
from runbake.registry import ImageRef
from runbake.runtime import provenance_of_url
from runbake.trace import Chain, chain_of_label_file, chain_of_run, with_run_page
from runbake_serving.contract import PROVENANCE_FILE

_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RUN = re.compile(r"[0-9a-f]{32}")


@click.command("trace", epilog="Example: runbake trace http://127.0.0.1:8080")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print the chain as JSON.")
@tracking_option
@insecure_registry_option
def trace_command(ref: str, as_json: bool, tracking_uri: str | None) -> None:
    """Follow REF back to its run: an image, a container, the URL of a server, or a run id.

    Works from what REF itself carries; MLflow is asked only whether the run is still there.
    """
    chain = _chain(ref, tracking_uri)
    if tracking_uri:
        chain = _asked_mlflow(chain, tracking_uri)
    if as_json:
        click.echo(json.dumps(chain.to_json(), indent=1, ensure_ascii=False))
        return
    for link in chain.links:
        click.echo(f"  {link.stop:<12}{one_line(link.text)}")


def _chain(ref: str, tracking_uri: str | None) -> Chain:
    if ref.startswith(("http://", "https://")):
        return chain_of_label_file(provenance_of_url(ref), ("server", ref))
    if _RUN.fullmatch(ref):
        return chain_of_run(open_tracking(tracking_uri), ref)
    if "/" not in ref and _CONTAINER.fullmatch(ref) and (found := _of_container(ref)) is not None:
        return found
    if ref.startswith("sha256:"):
        raise InvalidReference(
            f"{ref[:80]} names no repository", hint="write HOST/NAME@sha256:…, as containerize prints it"
        )
    image = ImageRef.parse(ref)
    published = read_published(image, open_registries()(image.host))
    return chain_of_label_file(
        published.body,
        ("image", f"{image.repository}@{published.root}"),
        ("platform", f"{published.platform} {published.digest}"),
    )


def _of_container(name: str) -> Chain | None:
    container = open_engine().find_container(name)
    if container is None:
        return None
    body = container.read_file(PROVENANCE_FILE)
    return chain_of_label_file(body, ("container", container.id[:12]), ("image", container.image))


def _asked_mlflow(chain: Chain, tracking_uri: str) -> Chain:
    try:
        return with_run_page(chain, open_tracking(tracking_uri))
    except TrackingError as error:
        settings().console.print(
            f"[yellow]note:[/] {escape(one_line(str(error)))}", highlight=False, soft_wrap=True
        )
        return chain
