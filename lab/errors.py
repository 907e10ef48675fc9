"""What can go wrong in the lab: one error, because all of them end the command with a message."""

from __future__ import annotations


class LabError(RuntimeError):
    """A real part could not be had; the message says what to do or shows the log."""
