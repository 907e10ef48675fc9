"""The figures of one server: what is counted with each request and each call of the model.

Counting takes about a microsecond for each request: an addition here and there in memory that all workers
share. Names and help texts of all families are in `FAMILIES`, from which the documentation has its table.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Final

from starlette.types import Scope

from runbake_serving.metrics.exposition import Family, Labels, Sample, histogram_samples
from runbake_serving.metrics.figures import Figures
from runbake_serving.metrics.processes import process_families

OTHER = "other"
"""The route of requests to paths that are not ours."""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000)

FAMILIES: Final = {
    "runbake_requests": ("counter", "Answers by route and status; status 0 was not answered."),
    "runbake_request_seconds": (
        "histogram",
        "Time from a request's head to the end of its answer, by route.",
    ),
    "runbake_call_seconds": ("histogram", "Time of one call of the model."),
    "runbake_call_requests": ("histogram", "Requests that one call of the model answers."),
    "runbake_call_rows": ("histogram", "Rows that one call of the model predicts."),
    "runbake_rows": ("counter", "Rows predicted."),
    "runbake_requests_in_flight": ("gauge", "Requests for predictions that are not answered yet."),
    "runbake_queue_requests": ("gauge", "Requests that wait for the model."),
    "runbake_queue_rows": ("gauge", "Rows that wait for the model."),
    "runbake_held_bytes": ("gauge", "Bytes of request bodies that are held."),
    "runbake_workers": ("gauge", "Worker processes."),
    "runbake_model": ("info", "The model that answers, and the run that it comes from."),
}
"""Every family of our own: kind and help text."""

_REFRESH_S = 1.0
_STATUSES = (0, *(status.value for status in HTTPStatus))
_STATUS_INDEX = {status: index for index, status in enumerate(_STATUSES)}
_GAUGES = ("runbake_requests_in_flight", "runbake_queue_requests", "runbake_queue_rows", "runbake_held_bytes")

Gauges = Callable[[], tuple[float, float, float, float]]
"""The present values of `_GAUGES` in this process."""


class Metrics:
    """Counts requests by these routes (templates, never paths of callers) and calls of the model.

    Made before the fork; each worker counts for itself from its first observation.
    """

    def __init__(self, routes: Iterable[str], info: Labels, gauges: Gauges) -> None:
        self._routes = tuple(dict.fromkeys((*routes, OTHER)))
        self._info, self._gauges = info, gauges
        self._places = _Places(len(self._routes))
        self._figures = Figures(self._places.size)
        self._supervisor = os.getpid()
        self._own: memoryview[float] | None = None
        self._index = {route: index for index, route in enumerate(self._routes)}

    def observe_request(self, scope: Scope, status: int, seconds: float) -> None:
        """One answer was given."""
        own = self._own or self._claim()
        index = self._index[self.route_of(scope)]
        place = self._places.statuses(index) + _STATUS_INDEX.get(status, 0)
        own[place] += 1
        _observe(own, self._places.seconds(index), SECONDS, seconds)

    def route_of(self, scope: Scope) -> str:
        """The template of the route that this request took; never a path of the caller's."""
        route = scope.get("route")
        path = scope["path"] if route is None else getattr(route, "path", OTHER)
        return path if path in self._index else OTHER

    def observe_call(self, requests: int, rows: int, seconds: float) -> None:
        """The model was called once."""
        own, places = self._own or self._claim(), self._places
        _observe(own, places.call_seconds, SECONDS, seconds)
        _observe(own, places.call_requests, REQUESTS, requests)
        _observe(own, places.call_rows, ROWS, rows)

    async def keep_fresh(self) -> None:
        """Refresh until cancelled: a worker that only waits has figures too."""
        while True:
            self.refresh()
            await asyncio.sleep(_REFRESH_S)

    def refresh(self) -> None:
        """Let the other workers see this one's gauges as they are now."""
        own, start = self._own or self._claim(), self._places.gauges
        for offset, value in enumerate(self._gauges()):
            own[start + offset] = value

    def families(self) -> Iterator[Family]:
        """Everything there is to tell, of all workers together."""
        self.refresh()
        living = list(self._figures.of_the_living())
        sums = [sum(numbers) for numbers in zip(*self._figures.everyones(), strict=True)]
        yield from self._request_families(sums)
        yield from self._call_families(sums)
        for offset, name in enumerate(_GAUGES):
            yield _family(name, [Sample(value=sum(one[self._places.gauges + offset] for one in living))])
        yield _family("runbake_workers", [Sample(value=len(living))])
        yield _family("runbake_model", [Sample(labels=self._info, value=1)])
        yield from process_families(self._supervisor, (int(one[self._places.pid]) for one in living))

    def _claim(self) -> memoryview[float]:
        self._own = own = self._figures.claim()
        own[self._places.pid] = os.getpid()
        return own

    def _request_families(self, sums: Sequence[float]) -> Iterator[Family]:
        answers, times = list[Sample](), list[Sample]()
        for index, route in enumerate(self._routes):
            start = self._places.statuses(index)
            for status, count in zip(_STATUSES, sums[start : start + len(_STATUSES)], strict=True):
                if count:
                    answers.append(Sample(labels=(("route", route), ("status", str(status))), value=count))
            times.extend(_histogram(sums, self._places.seconds(index), SECONDS, (("route", route),)))
        yield _family("runbake_requests", answers)
        yield _family("runbake_request_seconds", times)

    def _call_families(self, sums: Sequence[float]) -> Iterator[Family]:
        places = self._places
        yield _family("runbake_call_seconds", _histogram(sums, places.call_seconds, SECONDS))
        yield _family("runbake_call_requests", _histogram(sums, places.call_requests, REQUESTS))
        yield _family("runbake_call_rows", _histogram(sums, places.call_rows, ROWS))
        yield _family("runbake_rows", [Sample(value=sums[places.call_rows + len(ROWS) + 1])])


class _Places:
    """Where each number is in a slot. A histogram has a number for each bound, for above all, and the sum."""

    def __init__(self, routes: int) -> None:
        self.pid = 0
        self.gauges = 1
        self.call_seconds = self.gauges + len(_GAUGES)
        self.call_requests = self.call_seconds + len(SECONDS) + 2
        self.call_rows = self.call_requests + len(REQUESTS) + 2
        self._first = self.call_rows + len(ROWS) + 2
        self._each = len(_STATUSES) + len(SECONDS) + 2
        self.size = self._first + routes * self._each

    def statuses(self, route: int) -> int:
        """Of one route, by status."""
        return self._first + route * self._each

    def seconds(self, route: int) -> int:
        """Of one route, the histogram."""
        return self.statuses(route) + len(_STATUSES)


def _observe(own: memoryview[float], start: int, bounds: Sequence[float], value: float) -> None:
    place = start + bisect_left(bounds, value)
    own[place] += 1
    own[start + len(bounds) + 1] += value


def _histogram(
    sums: Sequence[float], start: int, bounds: Sequence[float], labels: Labels = ()
) -> Iterator[Sample]:
    above = start + len(bounds)
    return histogram_samples(sums[start : above + 1], sums[above + 1], bounds, labels)


def _family(name: str, samples: Iterable[Sample]) -> Family:
    kind, text = FAMILIES[name]
    return Family(name=name, kind=kind, help=text, samples=tuple(samples))
