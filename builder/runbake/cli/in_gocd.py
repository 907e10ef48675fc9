"""`--from-gocd`: a command takes what it is about from the GoCD job that runs it; and GoCD's API, opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from runbake.cli.context import open_tracking, settings
from runbake.errors import ConfigError, InvalidReference
from runbake.gocd import Bearer, GocdServer, invocation_of, job_run, place_of, run_built_in, session_with
from runbake.trace import Chain, Link, chain_of_run


def open_gocd(url: str | None) -> GocdServer:
    """The door to GoCD, with the environment's credentials.

    Raises:
        ConfigError: no server or no credentials are named.
    """
    if not url:
        raise ConfigError("no GoCD server is named", hint="pass --server, or set RUNBAKE_GOCD_SERVER")
    return GocdServer(url, session=session_with(_credentials(settings().environment)))


def _credentials(environment: Mapping[str, str]) -> Bearer | tuple[str, str]:
    if token := environment.get("GOCD_TOKEN", "").strip():
        return Bearer(token)
    name, password = environment.get("GOCD_USERNAME", ""), environment.get("GOCD_PASSWORD", "")
    if not name or not password:
        raise ConfigError(
            "no credentials for GoCD", hint="set GOCD_TOKEN, or GOCD_USERNAME and GOCD_PASSWORD"
        )
    return name, password


def chain_of_gocd(url: str, tracking_uri: str | None) -> Chain:
    """From a page of GoCD to the run that its pipeline run built, and what came of that.

    Raises:
        ConfigError: the page is not of the server that the environment names: whoever sends somebody a URL
            must not get that server's token.
        NotInGocd: the pipeline's run names no single run.
    """
    place = place_of(url)
    if place is None:
        raise InvalidReference(f"no page of a GoCD pipeline's run: {url[:200]!r}")
    environment = settings().environment
    mine = environment.get("RUNBAKE_GOCD_SERVER") or environment.get("GO_SERVER_URL") or ""
    own = place_of(f"{mine.rstrip('/')}/pipelines/any/1")
    if own is None or place.server != own.server:
        raise ConfigError(
            f"{place.server} is not the GoCD server of this environment, so no credentials go there",
            hint=f"if you trust it: RUNBAKE_GOCD_SERVER={place.server}",
        )
    server = open_gocd(mine)
    instance = server.instance(place.pipeline, place.counter)
    chain = chain_of_run(open_tracking(tracking_uri), run_built_in(instance))
    links = (
        Link(stop="pipeline", text=f"{place.pipeline} {place.counter} {instance.get('label', '')}"),
        Link(stop="value stream", text=server.run_url(place.pipeline, place.counter)),
    )
    return replace(chain, links=(*links, *chain.links))


def from_gocd_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--from-gocd` and `--gocd-material`, which `taken_from_gocd` reads."""
    material = click.option(
        "--gocd-material",
        default="",
        metavar="NAME",
        help="With --from-gocd: the package material.  [default: the only one]",
    )
    flag = click.option(
        "--from-gocd",
        is_flag=True,
        help="In place of RUN: the run that this GoCD job is about, from the job's variables.",
    )
    return flag(material(command))


def taken_from_gocd(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with `run`, `tracking_uri`, `promote_tag` and `invocation` as the job says.

    What the user named wins: --tracking-uri (the material's may be a bridge) and --promote-tag.

    Raises:
        NotInGocd: this is no job of GoCD, or nothing in it names one run.
    """
    if not options["from_gocd"]:
        return {**options, "invocation": None}
    if options.get("run") or options.get("experiment"):
        raise click.UsageError("name one thing to build: RUN or --experiment NAME, or --from-gocd")
    environment = settings().environment
    job = job_run(environment, material=options["gocd_material"])
    taken = {**options, "run": str(job.run), "invocation": invocation_of(environment)}
    taken["tracking_uri"] = options["tracking_uri"] or job.tracking_uri
    source = click.get_current_context().get_parameter_source("promote_tag")
    if job.promote_tag and source in (None, ParameterSource.DEFAULT):
        taken["promote_tag"] = job.promote_tag
    return taken
