"""A base that is missing: the error gives the command, and the command makes the base."""

from __future__ import annotations

import re
import shlex

from lab.engine import engine
from lab.source import source_image
from lab.story import Story
from runbake.errors import BaseImageError, PythonMismatch
from tests.e2e.world import World


def test_a_missing_base_is_made_by_the_command_that_the_error_gives(world: World, wine_run: str) -> None:
    """`{python}` is the model's; the pasted command builds and pushes; then the same build goes on."""
    base = f"{world.registry}/made/base:{{python}}"
    wanted = ("containerize", wine_run, "--repository", f"{world.registry}/made/wine", "--base", base)
    missing = world.run(*wanted, "--dry-run")

    assert missing.status == BaseImageError.exit_code, missing.err
    command = re.search(r"runbake (base build .*)", missing.err)
    assert command is not None, missing.err
    source = source_image(engine(), story=Story())
    built = world.run(*shlex.split(command[1]), "--from", source, "--network", "host")

    assert built.status == 0, built.err
    assert re.fullmatch(rf"{world.registry}/made/base@sha256:[0-9a-f]{{64}}", built.out.strip())
    planned = world.run(*wanted, "--dry-run")
    assert planned.status == 0, planned.err
    assert built.out.strip() in planned.out
    engine().images.remove(f"{world.registry}/made/base:3.11")


def test_a_source_with_another_python_is_not_pushed(world: World) -> None:
    """What was built is asked for its Python first; nothing gets the name in the registry."""
    name = f"{world.registry}/made/other"
    source = source_image(engine(), story=Story())
    wrong = world.run(
        "base", "build", f"{name}:3.12", "--python", "3.12", "--from", source, "--network", "host"
    )

    assert wrong.status == PythonMismatch.exit_code, wrong.err
    assert "has Python 3.11, not 3.12" in wrong.err
    assert "--from python:3.12-slim" in wrong.err
    assert world.run("base", "build", name, "--python", "4").status == 2
    engine().images.remove(f"{name}:3.12")


def test_a_source_that_is_not_there(world: World) -> None:
    """The engine's own words, and where to name another."""
    missing = world.run(
        "base", "build", f"{world.registry}/made/none", "--python", "3.12", "--from", "none.invalid/none:1"
    )

    assert missing.status == BaseImageError.exit_code, missing.err
    assert "none.invalid" in missing.err
    assert "--from" in missing.err
