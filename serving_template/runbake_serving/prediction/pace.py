"""How long predictions take, learned from those that were made."""

from __future__ import annotations

_WEIGHT, _WEIGHT_UP = 0.2, 0.6
_SLOTS = 48
_STEP = 2.0
"""Longer than so many times what is known counts as that: others may have had the processor meanwhile."""


class Pace:
    """What a prediction of so many rows is expected to take, and how much work waits.

    Rows are told apart by powers of two: a model has costs of its own beside those of each row.
    """

    def __init__(self) -> None:
        self._by_size: list[float | None] = [None] * _SLOTS
        self._each_request_s = self._each_row_s = 0.0

    def took(self, requests: int, rows: int, seconds: float) -> None:
        """Learn from one prediction that answered so many requests and rows."""
        slot = min(rows.bit_length(), _SLOTS - 1)
        known = self._by_size[slot]
        self._by_size[slot] = seconds if known is None else _nearer(known, min(seconds, known * _STEP))
        self._each_request_s = _nearer_to_worse(self._each_request_s, seconds / requests)
        self._each_row_s = _nearer_to_worse(self._each_row_s, seconds / max(1, rows))

    def expected_s(self, rows: int) -> float | None:
        """Seconds of one prediction of so many rows; None where nothing is known.

        From a smaller number of rows it grows in proportion, which is too long rather than too short.
        """
        slot = min(rows.bit_length(), _SLOTS - 1)
        for nearest in range(slot, -1, -1):
            known = self._by_size[nearest]
            if known is not None:
                return known * float(1 << (slot - nearest))
        return None

    @property
    def known(self) -> bool:
        """A prediction was made."""
        return self._each_request_s > 0

    def backlog_s(self, requests: int, rows: int) -> float:
        """Seconds until so many waiting requests with so many rows in all are answered."""
        return max(requests * self._each_request_s, rows * self._each_row_s)


def _nearer(known: float, seconds: float) -> float:
    return known + (seconds - known) * _WEIGHT


def _nearer_to_worse(known: float, seconds: float) -> float:
    if not known:
        return seconds
    # Believed at once when it gets slower: what was let in by the old pace waits already.
    return known + (seconds - known) * (_WEIGHT if seconds < known else _WEIGHT_UP)
