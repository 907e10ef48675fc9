"""How a stage tells what it does, without knowing who listens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Step(Protocol):
    """One stage while it runs."""

    def say(self, text: str) -> None:
        """Set the one line that is left of the stage when it is done."""

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """So much is done of so much; may be called often and from any thread."""


class Story(Protocol):
    """The stages of a command, in order."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """A stage from its begin to its end."""

    def warn(self, text: str) -> None:
        """Something that the reader should know and that does not stop the work."""
