"""What is accepted can be answered in time and held in memory; the rest is refused at once."""

from __future__ import annotations

import pytest

from runbake_serving.errors import Overloaded
from runbake_serving.http.gate import Gate
from runbake_serving.prediction.pace import Pace


def gate_of(backlog_s: float = 0.0) -> Gate:
    """Two requests, 100 bytes, 10 s."""
    return Gate(requests=2, size_bytes=100, deadline_s=10.0, backlog_s=lambda: backlog_s)


def test_a_gate_counts_requests() -> None:
    """A request too many is refused, and there is room again when one leaves."""
    gate = gate_of()
    gate.enter()
    gate.enter()
    with pytest.raises(Overloaded) as refused:
        gate.enter()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    gate.leave()
    gate.enter()


def test_a_gate_counts_bytes() -> None:
    """Bodies too large together are refused; one alone never is, and what left makes room."""
    gate = gate_of()
    gate.grow(1000)
    with pytest.raises(Overloaded):
        gate.grow(1)
    gate.shrink(1000)
    gate.grow(60)
    gate.grow(40, held_bytes=60)
    gate.grow(40, held_bytes=100)
    gate.shrink(80)
    gate.grow(40)
    with pytest.raises(Overloaded):
        gate.grow(1, held_bytes=40)


@pytest.mark.parametrize(("backlog_s", "retry_after_s"), [(3.9, None), (4.1, 5), (60.0, 10)])
def test_a_gate_counts_time(backlog_s: float, retry_after_s: int | None) -> None:
    """When what waits takes more than its share of the deadline, the caller is told when to ask again."""
    gate = gate_of(backlog_s)
    if retry_after_s is None:
        gate.enter()
        return
    with pytest.raises(Overloaded) as refused:
        gate.enter()
    assert refused.value.retry_after_s == retry_after_s


def test_the_pace_of_predictions() -> None:
    """Nothing is known at first; then sizes are told apart, larger ones estimated, and changes followed."""
    pace = Pace()
    assert (pace.expected_s(1), pace.backlog_s(5, 5)) == (None, 0.0)
    pace.took(1, 2, 0.1)
    assert pace.expected_s(2) == pace.expected_s(3) == pytest.approx(0.1)
    assert pace.expected_s(4) == pytest.approx(0.2)
    assert pace.expected_s(1) is None
    assert pace.backlog_s(10, 10) == pytest.approx(1.0)
    for _ in range(100):
        pace.took(1, 2, 0.5)
    assert pace.expected_s(2) == pytest.approx(0.5, rel=0.01)
