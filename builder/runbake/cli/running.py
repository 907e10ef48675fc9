"""`run`: the image, served on this machine."""

from __future__ import annotations

import click

from runbake.cli.context import engine_auth, insecure_registry_option, open_engine, open_registries, settings
from runbake.cli.story import TerminalStory
from runbake.published import read_published
from runbake.registry import ImageRef
from runbake.runtime import serve_locally


@click.command("run", epilog="Example: runbake run localhost:5000/fraud:run-0123456789ab --port 9000")
@click.argument("ref")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1.  [default: a free one]"
)
@click.option("--name", metavar="NAME", help="The container's name; one of this name is replaced.")
@click.option("--detach", is_flag=True, help="Leave it running; else it stops with this command.")
@insecure_registry_option
def run_command(ref: str, port: int, name: str | None, detach: bool) -> None:
    """Serve the image REF on 127.0.0.1, as in production: read-only and without privileges.

    Prints the URL once it is ready.
    """
    story = TerminalStory(settings().console)
    image = ImageRef.parse(ref)
    with story.step("pull") as step:
        engine = open_engine()
        published = read_published(image, open_registries()(image.host), platform=engine.platform)
        pulled = engine.pull(image.repository, published.digest, engine_auth(image.host))
        step.say(pulled)
    with serve_locally(engine, pulled, port=port, name=name, keep=detach) as server:
        with story.step("ready") as step:
            server.wait_until_ready()
            step.say(server.url)
        click.echo(server.url)
        if not detach:
            for line in server.log_lines():
                click.echo(line, err=True, nl=False)
