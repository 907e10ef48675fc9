"""The story on stderr: a live line on a terminal, plain lines in a pipe, never a minute of silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from runbake.crew import Stopped

_STOPPED = (KeyboardInterrupt, SystemExit, Stopped)

HEARTBEAT_S = 30.0
"""GoCD ends a job that is silent for too long; a stage in a pipe says that it lives this often."""


class TerminalStep:
    """One stage on the terminal."""

    def __init__(self, name: str, live: Progress | None, task: TaskID | None) -> None:
        self.name = name
        self.text = ""
        self.amount = ""
        self._live = live
        self._task = task

    def say(self, text: str) -> None:
        """Set the line that is left when the stage is done."""
        self.text = one_line(text)
        self._show(self.text)

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """Show how much is done."""
        self.amount = f"{decimal(done_bytes)} of {decimal(total_bytes)}"
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=done_bytes, total=max(total_bytes, 1))
        self._show(self.amount)

    def _show(self, text: str) -> None:
        if self._live is not None and self._task is not None:
            self._live.update(self._task, description=f"  {self.name:<9}{escape(text)}")


def one_line(text: str) -> str:
    """The text without line breaks and control characters: names from MLflow reach the terminal here."""
    return "".join(character if character.isprintable() else " " for character in text)


class TerminalStory:
    """Stages on one console, which decides for itself about colour and width.

    Several stages may run at once; on a terminal each has a line of one live display while it runs.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._mutex = threading.Lock()
        self._live: Progress | None = None
        self._running = 0

    @contextmanager
    def step(self, name: str) -> Iterator[TerminalStep]:
        """Show a stage while it runs, and one line of it afterwards."""
        started = time.monotonic()
        with self._shown(name) as step:
            try:
                yield step
            except BaseException as error:
                how = ("stopped", "yellow") if isinstance(error, _STOPPED) else ("failed", "red")
                self._line(name, how[0], time.monotonic() - started, how[1])
                raise
        self._line(name, step.text, time.monotonic() - started, "green")

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._console.print(f"[yellow]warning:[/] {escape(one_line(text))}", highlight=False, soft_wrap=True)

    def _line(self, name: str, text: str, seconds: float, colour: str) -> None:
        self._console.print(
            f"  [{colour}]{name:<9}[/]{escape(text):<64} {seconds:>6.1f} s", highlight=False, soft_wrap=True
        )

    @contextmanager
    def _shown(self, name: str) -> Iterator[TerminalStep]:
        if not self._console.is_terminal:
            with self._heartbeat(TerminalStep(name, None, None)) as step:
                yield step
            return
        live = self._entered()
        task = live.add_task(f"  {name:<9}", total=None)
        try:
            yield TerminalStep(name, live, task)
        finally:
            live.remove_task(task)
            self._left()

    def _entered(self) -> Progress:
        with self._mutex:
            if self._live is None:
                columns = (
                    *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20)),
                    TimeElapsedColumn(),
                )
                self._live = Progress(*columns, console=self._console, transient=True)
                self._live.start()
            self._running += 1
            return self._live

    def _left(self) -> None:
        with self._mutex:
            self._running -= 1
            if self._running == 0 and self._live is not None:
                self._live.stop()
                self._live = None

    @contextmanager
    def _heartbeat(self, step: TerminalStep) -> Iterator[TerminalStep]:
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT_S):
                doing = step.amount or step.text or "working"
                self._console.print(f"  {step.name:<9}… {escape(doing)}", highlight=False, soft_wrap=True)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield step
        finally:
            ended.set()
            thread.join()
