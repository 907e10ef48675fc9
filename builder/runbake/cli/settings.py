"""`config`: every setting, its value, and where the value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click
from click.core import ParameterSource

from runbake.cli.story import one_line
from runbake.redaction import redacted

_ORIGINS = {
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "runbake.toml",
    ParameterSource.DEFAULT: "default",
}


@click.command(epilog="Example: runbake config --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def config(context: click.Context, as_json: bool) -> None:
    """Show every setting of every command with its value, credentials of URLs left out, and its origin."""
    rows = list(_rows(context))
    if as_json:
        names = ("command", "setting", "value", "origin")
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1))
        return
    for command, setting, value, origin in rows:
        click.echo(one_line(f"{command:<13} {setting:<20} {origin:<13} {value}"))


def _rows(context: click.Context) -> Iterator[tuple[str, str, str, str]]:
    group = context.parent.command if context.parent else context.command
    assert isinstance(group, click.Group)  # noqa: S101 -- `config` is registered on the group
    yield from _rows_of(group, (context.parent and context.parent.default_map) or {})


def _rows_of(
    group: click.Group, defaults: Mapping[str, Any], *path: str
) -> Iterator[tuple[str, str, str, str]]:
    for name, command in group.commands.items():
        given = defaults.get(name, {})
        if isinstance(command, click.Group):
            yield from _rows_of(command, given, *path, name)
            continue
        probe = click.Context(command, info_name=name, default_map=dict(given))
        for option in command.params:
            if isinstance(option, click.Option):
                value, source = option.consume_value(probe, {})
                flag = max(option.opts, key=len)
                origin = _ORIGINS.get(source, "flag") if _is_set(value) else "unset"
                shown = redacted(str(value)) if _is_set(value) else ""
                yield " ".join((*path, name)), flag, shown, origin


def _is_set(value: object) -> bool:
    # click marks "nothing given" with a sentinel of its own.
    return value is not None and type(value).__name__ != "Sentinel"
