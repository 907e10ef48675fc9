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
from types import TracebackType

LOGGER = logging.getLogger("runbake")
_FRAMES = 12


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


def start_logging(level: int = logging.INFO) -> None:
    """Send every logger's records to stderr as JSON lines; warnings of libraries too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Its lines say less than ours, and one for each worker that starts and ends.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
