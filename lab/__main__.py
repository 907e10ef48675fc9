"""`python -m lab COMMAND`: the real parts for the demo and the tests."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import click
from docker.errors import DockerException

from lab import browser, cloud_disk, machine, other_hands, packer
from lab.base import build_base
from lab.demo import USER as DEMO
from lab.demo import run_demo, stop_demo
from lab.engine import ensure_engine
from lab.errors import LabError
from lab.packages import ensure_packages
from lab.services import REGISTRY_PACKAGES, ensure_mlflow, ensure_registry, release, running_services
from lab.state import State
from lab.story import Story

TESTS = "tests"


@click.group(help=__doc__)
def lab() -> None:
    """The group of commands."""


@lab.command()
def demo() -> None:
    """Train, promote, containerize, serve, predict and trace one model."""
    run_demo(State(), Story())


@lab.command()
def demo_down() -> None:
    """Stop what the demo started."""
    stop_demo(State(), Story())


@lab.command()
def setup_tests() -> None:
    """Install and start what the tests need; `teardown-tests` stops it."""
    state, story = State(), Story()
    with state.locked():
        client = ensure_engine(state, user=TESTS, story=story)
        ensure_packages(
            {
                **REGISTRY_PACKAGES,
                **browser.PACKAGES,
                **packer.PACKAGES,
                **other_hands.PACKAGES,
                **cloud_disk.PACKAGES,
            },
            log=state.directory / "apt.log",
            story=story,
        )
        build_base(client, story=story)
        machine.machine_image(client, story=story)


@lab.command()
def teardown_tests() -> None:
    """Stop what `setup-tests` started."""
    state = State()
    with state.locked():
        release(state, user=TESTS, story=Story())


@lab.command()
def disk() -> None:
    """Make a bootable Debian 12 for `runbake ami --local --source-disk`, once, and print where it is."""
    state = State()
    with state.locked():
        click.echo(cloud_disk.cloud_disk(story=Story()))


@lab.command()
def up() -> None:
    """Start engine, registry and MLflow server, and print where they are; `demo-down` stops them."""
    state, story = State(), Story()
    with state.locked():
        client = ensure_engine(state, user=DEMO, story=story)
        ensure_registry(state, client, user=DEMO, story=story)
        ensure_mlflow(state, user=DEMO, story=story)
    for name, address in running_services(state).items():
        click.echo(f"{name} {address}")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # SIGTERM ends `finally` blocks in order, as Ctrl-C does.
    raise KeyboardInterrupt


def main() -> None:
    """Run a command; a part that cannot be had is a message, not a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        lab()
    except (LabError, DockerException) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


main()
