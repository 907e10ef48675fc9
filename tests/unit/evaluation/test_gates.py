"""Gates: what passes, what fails, what cannot be decided; and gates that nobody can read."""

from __future__ import annotations

from typing import Any

import pytest

from runbake.errors import ConfigError
from runbake.evaluation import decided, gate_of, undecided
from runbake.evaluation.gates import verdict_of
from tests.unit.evaluation.samples import comparison, facts_of

BETTER = comparison(["a", "b"] * 50, ["a", "b"] * 50, ["a"] * 100)
WORSE = comparison(["a", "b"] * 50, ["a", "b"] * 45 + ["b", "a"] * 5, ["a", "b"] * 50)
FIRST = comparison(["a", "b"] * 50, ["a", "b"] * 45 + ["a"] * 10)
ERRS = comparison(
    [float(i) + 0.5 for i in range(50)], [float(i) for i in range(50)], [i + 0.4 for i in range(50)]
)


@pytest.mark.parametrize(
    ("found", "gate", "outcome"),
    [
        (BETTER, {"metric": "accuracy", "at-least": 1}, "passed"),
        (FIRST, {"metric": "accuracy", "at-least": 0.96}, "failed"),
        (FIRST, {"metric": "accuracy", "at-least": 0.95}, "passed"),
        (FIRST, {"metric": "accuracy", "at-least": 0.95, "on": "interval"}, "undecidable"),
        (FIRST, {"metric": "accuracy", "at-least": 0.5, "on": "interval"}, "passed"),
        (FIRST, {"metric": "accuracy", "at-least": 0.999, "on": "interval"}, "failed"),
        (FIRST, {"metric": "accuracy", "at-least": 0.5, "min-rows": 101}, "undecidable"),
        (FIRST, {"metric": "accuracy", "worse-by-at-most": 0}, "no baseline"),
        (FIRST, {"metric": "auc", "at-least": 0.5}, "failed"),
        (BETTER, {"metric": "accuracy", "worse-by-at-most": 0}, "passed"),
        (WORSE, {"metric": "accuracy", "worse-by-at-most": 0.1}, "passed"),
        (WORSE, {"metric": "accuracy", "worse-by-at-most": "9.9%"}, "failed"),
        (WORSE, {"metric": "accuracy", "worse-by-at-most": "10%"}, "passed"),
        (ERRS, {"metric": "rmse", "worse-by-at-most": 0.3}, "failed"),
        (ERRS, {"metric": "rmse", "worse-by-at-most": 0.41}, "passed"),
        (ERRS, {"metric": "rmse", "at-most": 0.5}, "passed"),
        (ERRS, {"metric": "median_absolute_error", "at-most": 1, "on": "interval"}, "undecidable"),
        (BETTER, {"metric": "churn", "at-most": "50%"}, "passed"),
        (BETTER, {"metric": "churn", "at-most": 0.4}, "failed"),
        (FIRST, {"metric": "churn", "at-most": 0.4}, "no baseline"),
        (FIRST, {"metric": "rejected", "at-most": "1%", "min-rows": 5000}, "failed"),
        (FIRST, {"metric": "breaking_changes", "at-most": 0, "min-rows": 5000}, "failed"),
    ],
)
def test_a_gate_is_decided(found: Any, gate: dict[str, Any], outcome: str) -> None:
    """By its bound, on the point or the whole interval, against a number or the baseline."""
    (decision,) = decided([gate_of(gate)], found, facts_of(found))

    assert decision.outcome == outcome, decision.why


def test_every_slice_has_to_hold() -> None:
    """A gate on slices is decided for all rows and for each slice by name; few rows decide nothing."""
    truth = ["a", "b"] * 50
    guess = ["a", "b"] * 30 + ["b", "a"] * 20
    found = comparison(truth, guess, slices={"k": ["x"] * 60 + ["y"] * 40})
    gate = gate_of({"metric": "accuracy", "at-least": 0.5, "slices": "true", "min-rows": 50})
    outcomes = {decision.where: decision.outcome for decision in decided([gate], found, {})}

    assert outcomes == {"": "passed", "k=x": "passed", "k=y": "undecidable"}


@pytest.mark.parametrize(
    ("gate", "match"),
    [
        ({}, "wants `metric`"),
        ({"metric": "accuracy"}, "one of"),
        ({"metric": "accuracy", "at-least": 1, "at-most": 1}, "one of"),
        ({"metric": "accuracy", "at_least": 1}, "at_least is unknown"),
        ({"metric": "accuracy", "at-least": "much"}, "is no number"),
        ({"metric": "accuracy", "at-least": "nan"}, "no finite number"),
        ({"metric": "accuracy", "at-least": "90%"}, "a share of what"),
        ({"metric": "accuracy", "at-least": 1, "on": "line"}, "point or interval"),
        ({"metric": "accuracy", "at-least": 1, "slices": "all"}, "true or false"),
        ({"metric": "accuracy", "at-least": 1, "min-rows": "50%"}, "count of rows"),
        ({"metric": "accuracy", "at-least": 1, "min-rows": -1}, "count of rows"),
        ({"metric": "churn", "worse-by-at-most": 1}, "wants at-least or at-most"),
        ({"metric": "mean_error", "worse-by-at-most": 1}, "wants at-least or at-most"),
        ({"metric": "rejected", "at-most": 1, "slices": True}, "not known of slices"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(gate: dict[str, Any], match: str) -> None:
    """Before any model is asked, with what is wrong."""
    with pytest.raises(ConfigError, match=match):
        gate_of(gate)


def test_nothing_passes_by_want_of_gates_slices_or_a_baseline() -> None:
    """Without gates nothing has passed; a gate on slices wants some; a lost baseline decides nothing."""
    assert verdict_of(()) == "no gates"
    gate = gate_of({"metric": "accuracy", "at-least": 0.1, "slices": True})
    assert verdict_of(decided([gate], FIRST, {})) == "undecidable"
    worse = decided([gate_of({"metric": "accuracy", "worse-by-at-most": 0})], FIRST, {})
    assert verdict_of(worse) == "passed"
    assert [one.why for one in undecided(worse, "gone")] == ["gone"]
    assert verdict_of(undecided(worse, "gone")) == "undecidable"
