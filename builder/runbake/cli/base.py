"""`base build`: the image under every image, from Dockerfile.base."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from runbake.cli.context import engine_auth, open_engine, settings
from runbake.cli.story import TerminalStory
from runbake.registry import ImageRef, check_tag
from runbake.runtime import build_base_image, check_python, push_image, source_for

RECIPE = "Dockerfile.base"


@click.group("base", epilog="Example: runbake base build registry.example.org/base:3.12 --python 3.12")
def base_group() -> None:
    """The base images that models are put on, one for each minor version of Python."""


@base_group.command(
    "build", epilog="Example: runbake base build registry.example.org/base:3.12 --python 3.12"
)
@click.argument("ref")
@click.option(
    "--python", required=True, metavar="3.N", callback=lambda *given: _minor(given[2]), help="Its Python."
)
@click.option(
    "--from",
    "source",
    metavar="IMAGE",
    help="A Debian-like image.  [default: debian:bookworm-slim for 3.11, else python:3.N-slim]",
)
@click.option("--network", metavar="MODE", help="The network of the build, as in `docker build --network`.")
@click.option("--no-push", is_flag=True, help="Leave it in the engine.")
def base_build(ref: str, python: str, source: str | None, network: str | None, no_push: bool) -> None:
    """Build the base image REF (HOST/NAME:TAG) with the container engine, and push it.

    Prints the reference by digest: the value of `--base`.
    """
    target = ImageRef.parse(ref)
    if target.digest is not None:
        raise click.UsageError("REF is the name to give: HOST/NAME:TAG, without a digest")
    tag, story, engine = check_tag(target.tag or python), TerminalStory(settings().console), open_engine()
    image = f"{target.repository}:{tag}"
    with story.step("base") as step:
        build_base_image(
            engine,
            recipe(),
            source=source or source_for(python),
            image=image,
            environment=settings().environment,
            network=network,
            progress=step.say,
        )
        check_python(engine, image, python)
        step.say(f"{image}, Python {python}, from {source or source_for(python)}")
    if no_push:
        click.echo(image)
        return
    with story.step("push") as step:
        digest = push_image(engine, image, target.repository, tag, engine_auth(target.host))
        step.say(image)
    click.echo(f"{target.repository}@{digest}")


def recipe() -> bytes:
    """Dockerfile.base, as the wheel carries it or as it lies in the checkout."""
    installed = files("runbake") / "_data" / RECIPE
    if installed.is_file():
        return installed.read_bytes()
    return (Path(__file__).parents[3] / RECIPE).read_bytes()


def _minor(text: str) -> str:
    major, _, minor = text.partition(".")
    if major != "3" or not (minor.isascii() and minor.isdigit()):
        raise click.BadParameter(f"{text!r} is no minor version of Python 3, such as 3.12")
    return text
