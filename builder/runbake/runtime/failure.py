"""What the container engine refuses or breaks, in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import docker.errors
import requests
import urllib3.exceptions

from runbake.errors import EngineError

_HINTS = (
    ("port is already allocated", "something else has this port: choose another --port"),
    ("address already in use", "something else has this port: choose another --port"),
    ("cannot assign requested address", "the engine's host has no such address: choose another --bind"),
)
"""What to try, by what engines say."""
MISSING_HINT = "start Docker, or set DOCKER_HOST; `runbake doctor` says what is there"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Inside this context the SDK's exceptions leave as `EngineError`; `doing` is what was tried, on what."""
    try:
        yield
    except docker.errors.DockerException as error:
        reason = _reason(error)
        hint = next((hint for said, hint in _HINTS if said in reason), "")
        raise EngineError(f"the engine failed to {doing}: {reason}", hint=hint) from error
    # What is read from a connection as it comes, the SDK does not translate.
    except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise EngineError(f"lost the engine while trying to {doing}", hint=MISSING_HINT) from error


def _reason(error: docker.errors.DockerException) -> str:
    explanation = getattr(error, "explanation", None)
    return str(explanation or error)


def noting(failure: BaseException, clean_up: Callable[[], None]) -> None:
    """Clean up after a failure; what fails in that is a note on it, and does not take its place."""
    try:
        clean_up()
    except EngineError as also:
        failure.add_note(str(also))
