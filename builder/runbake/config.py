"""`runbake.toml`: read once, checked against the commands' own options, never guessed.

A table for each command, keys spelled as its flags; keys before the first table hold for every command that
has them, keys in the table of a group for every command of the group::

    tracking-uri = "https://mlflow.example.org"

    [containerize]
    repository = "registry.example.org/models/fraud"

    [gocd.trigger]
    server = "https://gocd.example.org/go"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbake.errors import ConfigError

FILE_NAME = "runbake.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A command's option: `flag` as the file spells it ("format"), `parameter` as the command calls it.

    `many` says that it takes several values: a list in the file, or the only one of them.
    """

    flag: str
    parameter: str
    many: bool = False


Commands = Mapping[str, "Iterable[Option] | Commands"]
"""What each command takes; a group is a mapping of its own."""


def read_config(path: Path) -> dict[str, Any]:
    """The file as a document.

    Raises:
        ConfigError: it cannot be read, or is not TOML; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def defaults_of(document: Mapping[str, Any], commands: Commands, *, source: str) -> dict[str, dict[str, Any]]:
    """Each command's settings from the file, by the names of its parameters; groups are nested.

    Raises:
        ConfigError: a table or key is unknown; the message lists them all and suggests the nearest.
    """
    if problems := _problems(document, commands):
        raise ConfigError(f"{source}: " + "; ".join(problems), hint="`runbake config` lists every setting")
    return _defaults(document, commands, {})


def _problems(table: Mapping[str, Any], known: Iterable[Option] | Commands, *path: str) -> list[str]:
    inner = known if isinstance(known, Mapping) else {}
    keys, tables = _parted(table)
    flags, within = _flags(known), f"[{'.'.join(path)}] " if path else ""

    def named(name: str) -> str:
        return f"[{'.'.join((*path, name))}]"

    problems = [_unknown(key, flags | inner.keys(), within=within) for key in keys if key not in flags]
    problems += [_unknown(named(name), map(named, inner)) for name in tables if name not in inner]
    for name, values in tables.items():
        if name in inner:
            problems += _problems(values, inner[name], *path, name)
    return problems


def _defaults(table: Mapping[str, Any], commands: Commands, above: Mapping[str, Any]) -> dict[str, Any]:
    keys, tables = _parted(table)
    shared = {**above, **keys}
    return {
        name: _defaults(tables.get(name, {}), known, shared)
        if isinstance(known, Mapping)
        else _values({**shared, **tables.get(name, {})}, known)
        for name, known in commands.items()
    }


def _values(settings: Mapping[str, Any], options: Iterable[Option]) -> dict[str, Any]:
    return {
        option.parameter: [value] if option.many and isinstance(value, str) else value
        for option in options
        if (value := settings.get(option.flag)) is not None
    }


def _flags(known: Iterable[Option] | Commands) -> set[str]:
    if isinstance(known, Mapping):
        return set().union(*map(_flags, known.values()))
    return {option.flag for option in known}


def _parted(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    keys = {key: value for key, value in table.items() if not isinstance(value, dict)}
    return keys, {key: value for key, value in table.items() if isinstance(value, dict)}


def _unknown(key: str, known: Iterable[str], *, within: str = "") -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"{within}{key} is unknown" + (f", did you mean {near[0]}?" if near else "")
