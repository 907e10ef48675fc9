"""README's first example: commands that exist, with these options, and what they print looks like this."""

from __future__ import annotations

import io
import re
import shlex

import click
import pytest
from rich.console import Console

from lab.exit_codes import README
from runbake.cli import cli
from runbake.cli.story import TerminalStory
from runbake.image import Digest
from runbake.registry import ImageRef

_STAGE = re.compile(r"  (?P<name>[a-z]+) +(?P<text>.*?) +(?P<seconds>\d+\.\d) s")


def console_lines() -> list[str]:
    """The lines of README's first console."""
    found = re.search(r"^```console\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1].splitlines()


def commands() -> list[list[str]]:
    """The commands that the console shows, without `runbake`."""
    return [shlex.split(line)[2:] for line in console_lines() if line.startswith("$ runbake ")]


def stages() -> list[re.Match[str]]:
    """The stages that the console shows."""
    found = [_STAGE.fullmatch(line) for line in console_lines() if line.startswith("  ")]
    assert None not in found
    return [stage for stage in found if stage is not None]


def stage_names() -> list[str]:
    """The names of the stages that the console shows, in its order."""
    return [stage["name"] for stage in stages()]


def test_the_example_shows_the_main_job() -> None:
    """Promote, build, trace: what this file checks is there to be checked."""
    assert [command[0] for command in commands()] == ["promote", "containerize", "trace"]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[0])
def test_the_commands_exist_with_these_options(command: list[str]) -> None:
    """Parsed as the command line parses them; nothing is run."""
    name, *arguments = command
    context = click.Context(cli, info_name="runbake")

    assert cli.commands[name].make_context(name, arguments, parent=context).params


def test_the_stages_look_as_the_terminal_shows_them() -> None:
    """Name, text and seconds in the columns of today's output."""
    for stage in stages():
        console = Console(file=io.StringIO(), width=200)
        with TerminalStory(console).step(stage["name"]) as step:
            step.say(stage["text"])
        assert isinstance(console.file, io.StringIO)
        shown = _STAGE.fullmatch(console.file.getvalue().rstrip("\n"))
        assert shown is not None
        assert [shown.start(part) for part in ("text", "seconds")] == [
            stage.start(part) for part in ("text", "seconds")
        ]


def test_the_last_line_of_a_build_is_the_image_by_digest() -> None:
    """In the repository that the command names, with the digest that the stage `layers` names."""
    lines = console_lines()
    image = next(line for line in lines if not line.startswith(("$", " ")))
    ref = ImageRef.parse(image)

    assert commands()[1][-1] == ref.repository
    assert ref.digest is not None
    assert str(Digest(ref.digest))[:19] in next(
        stage["text"] for stage in stages() if stage["name"] == "layers"
    )
