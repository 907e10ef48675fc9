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
        self.requests = self.size_bytes = 0

    def enter(self) -> None:
        """Take one request in; `leave` must follow.

        Raises:
            Overloaded: too many are in, or it would wait too long.
        """
        self.check()
        self.requests += 1

    def check(self) -> None:
        """Refuse now who could not come in now; who may is not counted.

        Raises:
            Overloaded: as `enter`.
        """
        if self.requests >= self._most_requests:
            self._refuse("too many requests are waiting")
        self.expect(self._backlog_s())

    def expect(self, wait_s: float) -> None:
        """Let a request that is in wait so long before it is begun.

        Raises:
            Overloaded: it would wait too long.
        """
        if wait_s > self._deadline_s * _SHARE:
            self._refuse("the requests that wait take all the time there is", wait_s)

    def grow(self, size_bytes: int, *, held_bytes: int = 0) -> None:
        """Take so many more bytes of a body in, of which `held_bytes` are here; `shrink` must follow.

        Raises:
            Overloaded: there is no room; a body that is alone is always let in.
        """
        if self.size_bytes > held_bytes and self.size_bytes + size_bytes > self._most_bytes:
            self._refuse("the bodies of the requests that wait take all the room there is")
        self.size_bytes += size_bytes

    def leave(self) -> None:
        """Let one request out."""
        self.requests -= 1

    def shrink(self, size_bytes: int) -> None:
        """Let a body of so many bytes go."""
        self.size_bytes -= size_bytes

    def _refuse(self, why: str, wait_s: float | None = None) -> NoReturn:
        again_s = min(self._backlog_s() if wait_s is None else wait_s, self._deadline_s)
        raise Overloaded(why, retry_after_s=max(1, math.ceil(again_s)))
