"""Progress over attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runbake.registry.transport import Meter


@given(st.lists(st.lists(st.integers(0, 100), max_size=5), min_size=1, max_size=5))
def test_bytes_are_counted_once(attempts: list[list[int]]) -> None:
    """What is told adds up to the furthest attempt, and no step is negative."""
    told: list[int] = []
    meter = Meter(told.append)
    for chunks in attempts:
        meter.begin()
        for chunk in chunks:
            meter.add(chunk)
    assert sum(told) == max(sum(chunks) for chunks in attempts)
    assert all(step > 0 for step in told)
