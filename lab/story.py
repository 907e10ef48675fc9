"""What the lab tells on stderr: one line for each step, with its time."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

_NAME_WIDTH = 11
_TEXT_WIDTH = 66


class Story:
    """Steps on a console: on a terminal a spinner while one runs, and its line with the seconds after it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """Show that `text` is being done, then how long it took; a failed step is marked."""
        line = f"  [bold]{escape(name):<{_NAME_WIDTH}}[/] {escape(text)}"
        started = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"{line} …")
        try:
            with self._console.status(line):
                yield
        except BaseException:
            self._console.print(f"{line}  [red]failed[/]")
            raise
        padding = " " * max(1, _TEXT_WIDTH - len(text))
        self._console.print(f"{line}{padding}[green]{time.monotonic() - started:6.1f} s[/]")

    def note(self, name: str, text: str) -> None:
        """A line about what is already so."""
        self._console.print(f"  [bold]{escape(name):<{_NAME_WIDTH}}[/] {escape(text)}")

    def command(self, arguments: Sequence[str]) -> None:
        """Show a command as one would type it."""
        self._console.print(f"\n[cyan]$ {escape(shlex.join(arguments))}[/]")

    def say(self, text: str = "") -> None:
        """Plain text."""
        self._console.print(escape(text))

    def elapsed_s(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._started
