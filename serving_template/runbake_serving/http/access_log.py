"""The access log: a line of JSON for each request, without its payload, written together once a turn."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress

import orjson


class AccessLog:
    """Lines of one turn of the event loop leave in one write; `flush` before the process ends.

    Nothing is written until `begin`: an application in a test has no log.
    """

    def __init__(self) -> None:
        self._lines: list[dict[str, object]] = []
        self._on = self._due = False

    def begin(self) -> None:
        """Write from now on, to standard error."""
        self._on = True

    def add(self, line: dict[str, object]) -> None:
        """One line; time, level, event and process are added."""
        if not self._on:
            return
        self._lines.append(line)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is."""
        self._due = False
        if not self._lines:
            return
        now_s = time.time()
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
        first = {
            "time": f"{when}.{int(now_s % 1 * 1000):03d}Z",
            "level": "info",
            "event": "request",
            "pid": os.getpid(),
        }
        lines = [orjson.dumps({**first, **line}, option=orjson.OPT_APPEND_NEWLINE) for line in self._lines]
        self._lines.clear()
        # Who reads our log may be gone; callers are answered all the same.
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()


ACCESS_LOG = AccessLog()
