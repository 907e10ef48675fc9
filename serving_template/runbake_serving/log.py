"""Logs: one JSON object a line on stderr, without payloads.

An exception of the model is told by its type and the lines it passed, never by its message: scikit-learn's
`could not convert string to float: '…'` quotes the request's data.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
import warnings
from types import TracebackType
from typing import TextIO

LOGGER = logging.getLogger("runbake")
_FRAMES = 12
_TEXT_LIMIT = 500


class JsonLines(logging.Formatter):
    """One record as one line of JSON: time (UTC), level, event, process, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "pid": record.process,
        }
        fields = record.__dict__.get("fields")
        if isinstance(fields, dict):
            line.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = list(frames_of(record.exc_info[2]))
        return json.dumps(line, default=str, ensure_ascii=False)


def frames_of(trace: TracebackType | None) -> tuple[str, ...]:
    """The innermost lines that an exception passed, outermost first, as `file:line function`."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return tuple(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


def cause_of(error: BaseException) -> dict[str, object]:
    """What a log line may say of an exception in foreign code."""
    return {"exception": type(error).__name__, "at": list(frames_of(error.__traceback__))}


class Warned:
    """Library warnings: one log line in each process for each place that warns.

    Python's own memory of them is lost with every `warnings.catch_warnings` of a library, so that numpy's
    would come with each request. Their text may quote the request: `text=False` leaves it out.
    """

    def __init__(self) -> None:
        self.text = True
        self._places: set[tuple[str, int, type[Warning]]] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """What `warnings.showwarning` is called with."""
        del file, line
        place = (filename, lineno, category)
        if place in self._places:
            return
        self._places.add(place)
        fields = {"warning": category.__name__, "at": f"{filename}:{lineno}"}
        if self.text:
            fields["text"] = str(message)[:_TEXT_LIMIT]
        LOGGER.warning("library warns", extra={"fields": fields})


WARNED = Warned()


def start_logging(level: int = logging.INFO) -> None:
    """Send every logger's records to stderr as JSON lines; warnings of libraries too, once each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    warnings.showwarning = WARNED
    # Its lines say less than ours, and one for each worker that starts and ends.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
