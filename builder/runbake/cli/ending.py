"""How a command is ended from outside: SIGTERM unwinds as Ctrl-C does, and neither waits for a server."""

from __future__ import annotations

import atexit
import signal
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_HEED_S = 1.0


class Terminated(SystemExit):
    """SIGTERM. It unwinds: containers are removed and temporary files deleted on the way out."""


def heed_signals() -> None:
    """Let SIGTERM raise `Terminated`, and let no signal wait for more than a second.

    A signal that comes in the instant before the main thread blocks in a read, or that another thread
    receives, is only noted: Python would act on it when that read ends, which for a server that has stopped
    answering is its timeout. The alarm interrupts the read, and Python resumes it when nothing was noted
    (PEP 475).
    """
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGALRM, _look)
    signal.setitimer(signal.ITIMER_REAL, _HEED_S, _HEED_S)
    # Python forgets its handlers before the process is gone, and an alarm would then kill it.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(EXIT_TERMINATED)


def _look(_signal: int, _frame: FrameType | None) -> None:
    """Nothing to do: that Python came by is enough."""
