"""Equal answers: same labels, same order, floats within the tolerance."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.runtime.compare import differences

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_everything_equals_itself(value: object) -> None:
    """No answer differs from itself, NaN included."""
    assert list(differences(value, json.loads(json.dumps(value)), tolerance=1e-9)) == []


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([1.0], [1.0 + 1e-12]),
        ([float("nan"), 1], [None, 1]),
        ([1], [1.0]),
        ([float("inf")], [None]),
    ],
)
def test_what_counts_as_equal(expected: object, found: object) -> None:
    """Rounding, and the words JSON lacks."""
    assert list(differences(expected, found, tolerance=1e-9)) == []


@pytest.mark.parametrize(
    ("expected", "found", "told"),
    [
        ({"p": [1, 2]}, {"p": [2, 1]}, 'answer."p"[0]: expected 1, found 2'),
        ([1.0], [1.0001], "answer[0]: expected 1.0, found 1.0001"),
        (["a"], ["b"], 'answer[0]: expected "a", found "b"'),
        ([1], ["1"], 'answer[0]: expected 1, found "1"'),
        ([True], [1], "answer[0]: expected true, found 1"),
        ([1, 2], [1], "answer: expected 2 items, found 1"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 'answer: expected the keys ["a", "b"], found ["b", "a"]'),
        ([None], [0.0], "answer[0]: expected null, found 0.0"),
        ([[1]], [1], "answer[0]: expected [1], found 1"),
    ],
)
def test_what_counts_as_different(expected: object, found: object, told: str) -> None:
    """Labels, types, order and length; the place is named."""
    assert told in list(differences(expected, found, tolerance=1e-9))
