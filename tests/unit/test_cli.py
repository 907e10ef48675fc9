"""The command line as a user reads it: help with examples, documented commands, errors with a way out."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from lab.exit_codes import README, with_table
from runbake.cli import cli, report_error
from runbake.cli.context import Settings
from runbake.cli.story import TerminalStory
from runbake.errors import RunbakeError
from tests.unit.samples import HOSTILE

RUN = "0" * 32


def invoke(*arguments: str, environment: dict[str, str] | None = None) -> click.testing.Result:
    settings = Settings(environment=environment or {}, console=Console(stderr=True))
    return CliRunner().invoke(cli, arguments, obj=settings)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    """`--help` says what it does and shows one call."""
    result = invoke(name, "--help")

    assert result.exit_code == 0
    assert f"Example: runbake {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_says_what_it_is_for(name: str) -> None:
    """No flag is left without a word."""
    options = [option for option in cli.commands[name].params if isinstance(option, click.Option)]

    assert [
        option.name for option in options if not option.help and not isinstance(option.type, click.Choice)
    ] == []


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_readme_mentions_every_command(name: str) -> None:
    """A command that nobody can find is not there."""
    text = README.read_text(encoding="utf-8")
    assert f"runbake {name}" in text or f"`{name}" in text


def test_the_readme_lists_the_exit_codes_that_there_are() -> None:
    """The generated table is current; `python -m lab.exit_codes` mends it."""
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("containerize", "--base", "b", "--repository", "h.x/n"), "RUN or --experiment"),
        (
            ("containerize", RUN, "--experiment", "e", "--base", "b", "--repository", "h.x/n"),
            "RUN or --experiment",
        ),
        (("containerize", RUN, "--base", "b"), "--repository, --output"),
        (("containerize", RUN, "--base", "b", "--repository", "h.x/n:tag"), "--tag"),
        (("containerize", RUN, "--base", "b", "--repository", "h.x/n", "--platform", "linux/s390x"), "s390x"),
        (("containerize", RUN, "--base", "b", "--output", "a.tar", "--output", "b.tar"), "one .tar file"),
        (("containerize", RUN, "--repository", "h.x/n"), "--base"),
        (("contanerize",), "No such command"),
    ],
)
def test_wrong_usage_is_named(arguments: tuple[str, ...], told: str) -> None:
    """What contradicts itself is refused with exit status 2, before anything is read."""
    result = invoke(*arguments, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})

    assert result.exit_code == 2
    assert told in result.output


def test_config_shows_where_values_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, environment and default are told apart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNBAKE_BASE", "h.x/base")
    (tmp_path / "runbake.toml").write_text('[containerize]\nrepository = "h.x/n"\n')
    result = invoke("config")

    rows = {tuple(line.split()[:2]): line.split()[2:] for line in result.output.splitlines()}
    assert rows["containerize", "--repository"] == ["runbake.toml", "h.x/n"]
    assert rows["containerize", "--base"] == ["environment", "h.x/base"]
    assert rows["containerize", "--format"] == ["default", "oci"]


def test_a_typo_in_the_file_stops_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is refused with the right one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runbake.toml").write_text('[containerize]\nrepositry = "h.x/n"\n')
    result = invoke("config")

    assert isinstance(result.exception, RunbakeError)
    assert "did you mean repository?" in str(result.exception)


def test_errors_cannot_forge_lines_or_colours() -> None:
    """Text from outside is shown without control characters, and its markup is not obeyed."""
    shown = io.StringIO()
    report_error(Console(file=shown, width=500), RunbakeError(f"[red]bad[/] {HOSTILE}", hint="try\nthis"))

    text = shown.getvalue()
    assert text.startswith("error: [red]bad[/] line\n  break")
    assert "\x1b" not in text
    assert text.splitlines()[-1] == "try:   try this"


def test_a_pipe_gets_one_plain_line_a_stage() -> None:
    """Without a terminal there is no colour and no live line; a failed stage says so."""
    shown = io.StringIO()
    story = TerminalStory(Console(file=shown, width=500))
    with story.step("one") as step:
        step.progress(1, 2)
        step.say("done [bold]so[/]")
    with pytest.raises(KeyError), story.step("two"):
        raise KeyError

    first, second = shown.getvalue().splitlines()
    assert first.split() == ["one", "done", "[bold]so[/]", "0.0", "s"]
    assert second.split() == ["two", "failed", "0.0", "s"]
