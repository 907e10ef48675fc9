"""The command `runbake`: argv, environment and file in; exit status out."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from runbake import __version__
from runbake.cli.ami import ami_group
from runbake.cli.base import base_group
from runbake.cli.batch import batch_group
from runbake.cli.containerize import containerize, prove_command, render
from runbake.cli.context import Settings
from runbake.cli.deploy import deploy_command, deployments_command, undeploy_command
from runbake.cli.diff import diff_command
from runbake.cli.doctor import doctor
from runbake.cli.ending import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, heed_signals
from runbake.cli.evaluate import evaluate_command
from runbake.cli.gocd import gocd
from runbake.cli.promotion import demote, promote, promoted
from runbake.cli.running import run_command
from runbake.cli.settings import config
from runbake.cli.story import one_line
from runbake.cli.trace import trace_command
from runbake.cli.verify import verify_command
from runbake.config import FILE_NAME, Commands, Option, defaults_of, read_config
from runbake.errors import RunbakeError
from runbake.tracking import use_mlflow_defaults

EXIT_BUG = 70


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Settings: flag, then environment, then runbake.toml, then default; `runbake config` shows which.",
)
@click.option(
    "--config",
    "config_file",
    envvar="RUNBAKE_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help=f"Settings file.  [default: {FILE_NAME} in this directory, if there is one]",
)
@click.version_option(__version__, package_name="runbake")
@click.pass_context
def cli(context: click.Context, config_file: Path | None) -> None:
    """A promoted MLflow run becomes a pushed, proven, traceable serving image."""
    path = config_file or Path(FILE_NAME)
    # A directory or a link to nowhere under that name is somebody's mistake, and `read_config` says so.
    if config_file is None and not os.path.lexists(path):
        return
    context.default_map = defaults_of(read_config(path), options_of(cli), source=str(path))


def options_of(group: click.Group) -> Commands:
    """What the settings file may say of each command of a group."""
    return {
        name: options_of(command)
        if isinstance(command, click.Group)
        else [option_of(option) for option in command.params if isinstance(option, click.Option)]
        for name, command in group.commands.items()
    }


def option_of(option: click.Option) -> Option:
    """What the settings file may say of an option."""
    flag = max(option.opts, key=len).lstrip("-")
    return Option(flag=flag, parameter=option.name or flag, many=option.multiple)


for _command in (
    containerize,
    promote,
    demote,
    promoted,
    prove_command,
    render,
    run_command,
    batch_group,
    evaluate_command,
    ami_group,
    deploy_command,
    undeploy_command,
    deployments_command,
    trace_command,
    base_group,
    verify_command,
    gocd,
    diff_command,
    doctor,
    config,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line and exit with a documented status."""
    heed_signals()
    use_mlflow_defaults(os.environ)
    console = Console(stderr=True)
    settings = Settings(environment=dict(os.environ), console=console)
    try:
        sys.exit(cli.main(standalone_mode=False, obj=settings, prog_name="runbake") or 0)
    except RunbakeError as error:
        report_error(console, error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Terminated as error:
        report_end(console, "terminated", error)
        sys.exit(EXIT_TERMINATED)
    except (click.Abort, KeyboardInterrupt) as error:
        report_end(console, "interrupted", error)
        sys.exit(EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001 -- the one place: a bug stays a bug, with its own exit status
        traceback.print_exc()
        console.print("[red]error:[/] this is a bug in runbake; please report it with the lines above")
        sys.exit(EXIT_BUG)


def report_error(console: Console, error: RunbakeError) -> None:
    """Print what failed, what was done by then and what to try; text from outside cannot forge a line."""
    lines = str(error).splitlines() or [""]
    _report(console, "[red]error:[/]", "\n  ".join(one_line(line) for line in lines))
    _report_done(console, error)
    if error.hint:
        _report(console, "[cyan]try:[/]  ", one_line(error.hint))


def report_end(console: Console, how: str, error: BaseException) -> None:
    """Print that somebody ended the command, what was done by then, and how to go on."""
    _report(console, "[red]error:[/]", how)
    # click wraps Ctrl-C into an exception of its own.
    _report_done(console, error.__cause__ or error)
    _report(console, "[cyan]try:[/]  ", "run the same command again: it goes on from there")


def _report_done(console: Console, error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        _report(console, "[cyan]done:[/] ", one_line(note))


def _report(console: Console, head: str, text: str) -> None:
    console.print(head, end=" ")
    console.print(text, markup=False, highlight=False, soft_wrap=True)


__all__ = ["cli", "main"]
