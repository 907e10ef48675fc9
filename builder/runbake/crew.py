"""Threads that end together: the first failure, or Ctrl-C, stops the others at their next piece of work.

The pools of the standard library wait for every running thread, also at the interpreter's end: one transfer
from a server that stalls would hold a command that has failed, or that nobody wants any more, for minutes.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

GRACE_S = 0.5
"""How long a failed crew is waited for; what has not ended by then is left to the end of the process."""

_POLL_S = 0.1


class Stopped(BaseException):
    """Another thread failed, or the user interrupted: whoever gets this unwinds.

    No `Exception`, as code in between would take it for a failure of its own.
    """


class Crew:
    """Threads for the time of a `with` block; all have ended after it, unless it is left by an exception."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._started: list[Future[object]] = []
        self._above = _CREW.get()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                wait(self._started)
            except BaseException:  # Ctrl-C at this very moment
                self._stop.set()
                raise
        else:
            self._stop.set()
            wait(self._started, timeout=GRACE_S)

    def check(self) -> None:
        """Long work calls this now and then.

        Raises:
            Stopped: the block was left by an exception, or that of the crew that this one works for.
        """
        if self._stop.is_set():
            raise Stopped
        if self._above is not None:
            self._above.check()

    def start(self, act: Callable[[], R]) -> Future[R]:
        """Do something in a thread of its own; the answer is there when it is done."""
        future: Future[R] = Future()

        def run() -> None:
            _CREW.set(self)
            try:
                future.set_result(act())
            except BaseException as error:  # noqa: BLE001 -- raised again where the result is asked for
                future.set_exception(error)

        self._started.append(future)  # type: ignore[arg-type]
        # Only threads that are daemons are not waited for at the interpreter's end.
        threading.Thread(target=run, daemon=True).start()
        return future

    def each(self, act: Callable[[T], R], items: Iterable[T], *, threads: int) -> list[R]:
        """What `act` makes of each item, in their order, several at a time.

        Raises:
            BaseException: the first failure, at once; the block is to be left by it.
        """
        todo, mutex = list(items), threading.Lock()
        left, made = iter(enumerate(todo)), dict[int, R]()

        def work() -> None:
            while True:
                self.check()
                with mutex:
                    taken = next(left, None)
                if taken is None:
                    return
                made[taken[0]] = act(taken[1])

        futures = [self.start(work) for _ in range(min(threads, len(todo)))]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
        return [made[position] for position in range(len(todo))]


_CREW: ContextVar[Crew | None] = ContextVar("crew", default=None)
"""The crew that this thread belongs to."""


def child_done(
    command: Sequence[str], *, stdin: bytes, environment: Mapping[str, str], directory: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; it ends early with the crew of this thread, or with a signal to this process.

    Raises:
        OSError: it cannot be started.
        Stopped: the crew was stopped.
    """
    pipe, crew = subprocess.PIPE, _CREW.get()
    # A file: what `communicate` has not sent when its time is over, it never sends.
    with tempfile.TemporaryFile() as asked:
        asked.write(stdin)
        asked.seek(0)
        with subprocess.Popen(
            command, stdin=asked, stdout=pipe, stderr=pipe, env=dict(environment), cwd=directory
        ) as process:
            try:
                out, err = _heard(process, crew)
            except BaseException:
                process.kill()
                raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _heard(process: subprocess.Popen[bytes], crew: Crew | None) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=None if crew is None else _POLL_S)
        except subprocess.TimeoutExpired:
            if crew is not None:
                crew.check()
