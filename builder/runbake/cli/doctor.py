"""`doctor`: what is there, what is missing, how to get it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.markup import escape

from runbake import __version__
from runbake.cli.context import (
    cache_option,
    credential_source,
    open_registries,
    open_tracking,
    reach_engine,
    settings,
    tracking_option,
)
from runbake.cli.story import one_line
from runbake.environment import find_uv
from runbake.errors import RunbakeError
from runbake.registry import ImageRef

FREE_GIB = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's, with what to try when it is not fine."""

    name: str
    fine: bool
    text: str
    hint: str = ""


@click.command(epilog="Example: runbake doctor --registry localhost:5000/fraud")
@click.option("--registry", metavar="HOST/NAME", help="Also ask this registry.")
@cache_option
@tracking_option
def doctor(registry: str | None, cache: Path, tracking_uri: str | None) -> None:
    """Check this machine: uv, container engine, MLflow, registry, disk.

    Exits with 1 when something that was asked about is missing.
    """
    console = settings().console
    findings = list(_findings(registry, cache, tracking_uri))
    for finding in findings:
        mark = "[green]ok[/]     " if finding.fine else "[red]missing[/]"
        console.print(
            f"  {mark} {finding.name:<9} {escape(one_line(finding.text))}", highlight=False, soft_wrap=True
        )
        if not finding.fine and finding.hint:
            console.print(
                f"          [cyan]try:[/]      {escape(one_line(finding.hint))}",
                highlight=False,
                soft_wrap=True,
            )
    if not all(finding.fine for finding in findings):
        raise SystemExit(1)


def _findings(registry: str | None, cache: Path, tracking_uri: str | None) -> Iterator[Finding]:
    yield Finding(name="runbake", fine=True, text=__version__)
    yield _asked("uv", lambda: find_uv(settings().environment).run("--version").stdout.decode().strip())
    yield _asked("engine", lambda: reach_engine().description)
    yield _asked("mlflow", lambda: open_tracking(tracking_uri).describe())
    if registry:
        ref = ImageRef.parse(registry)
        yield _asked("registry", lambda: _registry(ref))
    yield _disk(cache)


def _asked(name: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, fine=True, text=ask())
    except RunbakeError as error:
        return Finding(name=name, fine=False, text=str(error), hint=error.hint)


def _registry(ref: ImageRef) -> str:
    tags = open_registries(attempts=1)(ref.host).list_tags(ref.name)
    known = "with" if credential_source().credentials_for(ref.host) else "without"
    return f"{ref.repository} answers {known} credentials, {len(tags)} tags"


def _disk(cache: Path) -> Finding:
    existing = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free >> 30
    return Finding(
        name="disk",
        fine=free >= FREE_GIB,
        text=f"{free} GiB free for the cache in {cache}",
        hint=f"runbake wants {FREE_GIB} GiB; free some, or point --cache elsewhere",
    )
