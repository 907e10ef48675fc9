"""How much a worker takes on: what it accepts, it can answer within the deadline and hold in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

from runbake_serving.errors import Overloaded

_SHARE = 0.4
"""How much of the deadline may be spent waiting: the rest is for the prediction, and for being wrong."""


class Gate:
    """Counts requests and bytes in the house, and refuses at once what is too much.

    `backlog_s` tells how long what waits will take, by the pace of late predictions.
    """

    def __init__(
        self, *, requests: int, size_bytes: int, deadline_s: float, backlog_s: Callable[[], float]
    ) -> None:
        self._most_requests, self._most_bytes = requests, size_bytes
        self._deadline_s, self._backlog_s = deadline_s, backlog_s
        self.requests = self.size_bytes = self.refused = 0

    def enter(self) -> None:
        """Take one request in; `leave` must follow.

        Raises:
            Overloaded: too many are in, or it would wait too long.
        """
        if self.requests >= self._most_requests:
            self._refuse("too many requests are waiting")
        if self._backlog_s() > self._deadline_s * _SHARE:
            self._refuse("the requests that wait take all the time there is")
        self.requests += 1

    def grow(self, size_bytes: int) -> None:
        """Take so many bytes of a request's body in.

        Raises:
            Overloaded: there is no room; a body that is alone is always let in.
        """
        if self.size_bytes and self.size_bytes + size_bytes > self._most_bytes:
            self._refuse("the bodies of the requests that wait take all the room there is")
        self.size_bytes += size_bytes

    def leave(self, size_bytes: int) -> None:
        """Let one request out, and with it its body of so many bytes."""
        self.requests -= 1
        self.size_bytes -= size_bytes

    def _refuse(self, why: str) -> NoReturn:
        self.refused += 1
        raise Overloaded(why, retry_after_s=max(1, math.ceil(min(self._backlog_s(), self._deadline_s))))
