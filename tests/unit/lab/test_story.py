"""What the lab tells."""

from __future__ import annotations

import io
import re
import socket

import pytest
from rich.console import Console

from lab.errors import LabError
from lab.ports import port_near
from lab.story import Story


def piped() -> tuple[Story, io.StringIO]:
    """A story whose listener is a file."""
    out = io.StringIO()
    return Story(Console(file=out, highlight=False, soft_wrap=True, force_terminal=False)), out


def test_a_piped_step_is_two_plain_lines() -> None:
    """In a log one sees what began, and how long it took; no escape codes."""
    story, out = piped()
    with story.step("base", "build [red]it"):
        pass
    begun, done = out.getvalue().splitlines()
    assert begun == "  base        build [red]it …"
    assert re.fullmatch(r"  base        build \[red\]it +\d+\.\d s", done)


def test_a_failed_step_says_so() -> None:
    """A step that raises is marked, and the error goes on."""
    story, out = piped()
    with pytest.raises(LabError, match="broken"), story.step("base", "build"):
        raise LabError("broken")
    assert out.getvalue().splitlines()[-1] == "  base        build  failed"


def test_commands_are_shown_as_typed() -> None:
    """A shown command can be pasted into a shell."""
    story, out = piped()
    story.command(["runbake", "promote", "a run"])
    assert out.getvalue() == "\n$ runbake promote 'a run'\n"


def test_a_taken_port_is_replaced() -> None:
    """The preferred port is used when it is free, else another one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port_near(port) != port
    free = port_near(0)
    assert port_near(free) == free
