"""What a watcher writes on a run: whom it asked for a pipeline, and which pipeline runs came of it. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

_MOST_DONE = 40
_PREFIX = "runbake.gocd.triggered."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that was, or is about to be, sent to GoCD.

    `by` is the watcher, `attempt` counts from 1, `after` is the pipeline's latest counter before the first
    attempt, `mark` what the request was made from.
    """

    request: str
    mark: str
    by: str
    attempt: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The memory of one run and one pipeline; `done` are requests with their counters, the oldest first.

    `Note.parse(str(note)) == note`; a text that is no note is an empty one, as anybody can write a tag.
    """

    asked: Asked | None = None
    done: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        asked = self.asked
        told: dict[str, Any] = {"done": [list(each) for each in self.done]}
        if asked is not None:
            told["asked"] = [asked.request, asked.mark, asked.by, asked.attempt, asked.after]
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Note:
        """The note that this text is."""
        try:
            told = json.loads(text or "{}")
            done = tuple((str(request), int(counter)) for request, counter in told.get("done", ()))
            asked = told.get("asked")
            return cls(asked=_asked(*asked) if asked is not None else None, done=done[-_MOST_DONE:])
        except (ValueError, TypeError, AttributeError, RecursionError):
            return cls()

    def counter_of(self, request: str) -> int:
        """The pipeline run that came of the request; 0 where none is known."""
        return dict(self.done).get(request, 0)

    def asks(self, request: str) -> Asked | None:
        """How the request was asked for last; None where it was not, or another one was since."""
        return self.asked if self.asked is not None and self.asked.request == request else None

    def with_done(self, request: str, counter: int) -> Note:
        """The note after the request's pipeline run was found."""
        kept = tuple(each for each in self.done if each[0] != request)
        asked = None if self.asks(request) else self.asked
        return replace(self, asked=asked, done=(*kept, (request, counter))[-_MOST_DONE:])


def note_key(pipeline: str) -> str:
    """The run's tag that keeps the note about a pipeline, within MLflow's 250 characters."""
    if len(pipeline) <= 200:
        return f"{_PREFIX}{pipeline}"
    return f"{_PREFIX}{pipeline[:180]}-{hashlib.sha256(pipeline.encode()).hexdigest()[:16]}"


def request_of(pipeline: str, run_id: str, mark: str) -> str:
    """The id of one promotion's pipeline, the same for whoever computes it: 16 hex digits.

    Args:
        pipeline: its name.
        run_id: the promoted run.
        mark: what tells this promotion from another one of the same run, such as its moment.
    """
    return hashlib.sha256("\0".join((pipeline, run_id, mark)).encode()).hexdigest()[:16]


def _asked(request: object, mark: object, by: object, attempt: object, after: object) -> Asked:
    return Asked(
        request=str(request), mark=str(mark), by=str(by), attempt=int(str(attempt)), after=int(str(after))
    )
