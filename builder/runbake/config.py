"""`runbake.toml`: read once, checked against the commands' own options, never guessed.

A table for each command, keys spelled as its flags; keys before the first table hold for every command that
has them::

    tracking-uri = "https://mlflow.example.org"

    [containerize]
    repository = "registry.example.org/models/fraud"
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


def defaults_of(
    document: Mapping[str, Any], commands: Mapping[str, Iterable[Option]], *, source: str
) -> dict[str, dict[str, Any]]:
    """Each command's settings from the file, by the names of its parameters.

    Raises:
        ConfigError: a table or key is unknown; the message lists them all and suggests the nearest.
    """
    options = {name: {option.flag: option for option in given} for name, given in commands.items()}
    everywhere = {flag for flags in options.values() for flag in flags}
    shared = {key: value for key, value in document.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    problems = [_unknown(key, everywhere | options.keys()) for key in shared if key not in everywhere]
    problems += [_unknown(f"[{name}]", [f"[{o}]" for o in options]) for name in tables if name not in options]
    problems += [
        _unknown(key, options[table], within=f"[{table}] ")
        for table, values in tables.items()
        if table in options
        for key in values
        if key not in options[table]
    ]
    if problems:
        raise ConfigError(f"{source}: " + "; ".join(problems), hint="`runbake config` lists every setting")
    return {
        command: {
            flags[key].parameter: [value] if flags[key].many and isinstance(value, str) else value
            for key, value in {**shared, **tables.get(command, {})}.items()
            if key in flags
        }
        for command, flags in options.items()
    }


def _unknown(key: str, known: Iterable[str], *, within: str = "") -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"{within}{key} is unknown" + (f", did you mean {near[0]}?" if near else "")
