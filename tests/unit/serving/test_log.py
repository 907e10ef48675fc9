"""What the log says of libraries' warnings: once for each place, and nothing of a request."""

from __future__ import annotations

import io
import json
import logging
import warnings
from typing import Any

import numpy as np

from runbake_serving.log import LOGGER, JsonLines, Warned


def lines_of(warned: Warned, times: int) -> list[dict[str, Any]]:
    """The log of so many requests whose values make numpy warn, and of one other warning each."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    LOGGER.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = warned
            for number in range(times):
                with warnings.catch_warnings():  # as libraries do: Python forgets what it has shown
                    np.array([1e300]).astype(np.float32)
                warnings.warn(f"secret {number}", UserWarning, stacklevel=1)
    finally:
        LOGGER.removeHandler(handler)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_place_warns_once() -> None:
    """Whatever the text, a place that warns leaves one line; another place leaves its own."""
    lines = lines_of(Warned(), 5)
    assert [line["warning"] for line in lines] == ["RuntimeWarning", "UserWarning"]
    assert [line["text"] for line in lines] == ["overflow encountered in cast", "secret 0"]
    assert all(line["at"].partition(":")[0].endswith("test_log.py") for line in lines)


def test_what_a_request_provokes_is_not_quoted() -> None:
    """In a worker the text is left out."""
    warned = Warned()
    warned.text = False
    lines = lines_of(warned, 2)
    assert ["text" in line for line in lines] == [False, False]
    assert "secret" not in json.dumps(lines)
