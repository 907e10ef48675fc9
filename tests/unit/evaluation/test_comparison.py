"""Kinds found by themselves, churn counted, slices sorted; and what cannot be compared is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runbake.errors import EvaluationError
from runbake.evaluation import Answers, compared, in_both, truth_of
from tests.unit.evaluation.samples import answers, comparison


@pytest.mark.parametrize(
    ("truth", "guess", "kind"),
    [
        (["a", "b", "a"], ["a", "b", "b"], "binary"),
        ([0, 1, 2], ["0", "1", "1"], "multiclass"),
        ([1.0, 0.0, 1.0], [1, 0, 0], "binary"),
        ([True, False, True], [True, True, True], "binary"),
        ([0.5, 1.5, 2.5], [0.5, 1.0, 2.0], "regression"),
        ([0, 1, 2], [0.1, 1.27, 2.0], "regression"),
        (["²", None], ["[spam]", "²"], "binary"),
        (list(range(30)), list(range(30)), "regression"),
        (["x", "y", "x"], [["x", "z"], ["z", "y"], []], "labels"),
    ],
)
def test_the_kind_is_found(truth: list[Any], guess: list[Any], kind: str) -> None:
    """Target and answers say what kind of question it is, however a file writes its classes."""
    found = comparison(truth, guess)

    assert found.kind == kind
    assert found.rows == sum(value is not None for value in truth)


def test_probabilities_and_several_labels() -> None:
    """One column for each class is probabilities; one column for each target is a multilabel answer."""
    scored = answers(
        {"target": ["a", "b", "b"], "p_0": [0.9, 0.4, 0.2], "p_1": [0.1, 0.6, 0.8]}, "p_0", "p_1"
    )
    found = compared(truth_of([scored], ("target",), None), scored, ())
    assert (found.kind, found.metric("accuracy").candidate.value) == ("binary", 1.0)  # type: ignore[union-attr]
    assert found.metric("roc_auc").candidate.value == 1.0  # type: ignore[union-attr]
    assert sum(count for _, _, count in found.reliability) == 3

    tagged = answers({"x": [1, 0], "y": [0, 0], "p": [1, 0], "q": [1, 0]}, "p", "q")
    found = compared(truth_of([tagged], ("x", "y"), None), tagged, ())
    assert (found.kind, found.metric("subset_accuracy").candidate.value) == ("multilabel", 0.5)  # type: ignore[union-attr]


def test_the_probabilities_of_whole_numbers_are_in_the_order_of_the_numbers() -> None:
    """Also where a file has them as texts: as such "10" would come before "2"."""
    columns = {
        "target": ["2", "10", "9"],
        "p_2": [0.8, 0.1, 0.1],
        "p_9": [0.1, 0.1, 0.8],
        "p_10": [0.1, 0.8, 0.1],
    }
    scored = answers(columns, "p_2", "p_9", "p_10")
    found = truth_of([scored], ("target",), None)
    assert found.classes == ("2", "9", "10")
    assert compared(found, scored, ()).metric("accuracy").candidate.value == 1.0  # type: ignore[union-attr]


def test_churn_counts_who_is_better_and_who_is_worse_off() -> None:
    """Fixed, broken and otherwise changed answers, by class and with their rows."""
    found = comparison(list("aabbcc"), list("aabbac"), list("abbbbb"))
    churn = found.churn
    assert churn is not None
    assert (churn.changed, churn.fixed, churn.broken) == (3, 2, 0)
    assert churn.fixed_rows == (1, 5)
    assert churn.by_class == (("a", 1, 2), ("b", 0, 2), ("c", 2, 2))
    assert found.shift is not None
    assert found.shift.distance == pytest.approx(4 / 6 - 1 / 6)


def test_the_slice_that_collapses_comes_first() -> None:
    """The whole gets better while one slice gets worse: it is the first that the reader sees."""
    truth, where = ["a", "b"] * 40, ["most"] * 60 + ["few"] * 20
    before = ["a"] * 60 + ["a", "b"] * 10
    now = ["a", "b"] * 30 + ["b", "a"] * 10
    found = comparison(truth, now, before, slices={"where": where})

    whole = found.metric("accuracy")
    assert whole is not None
    assert whole.difference is not None
    assert whole.difference.value > 0
    assert [part.name for part in found.slices] == ["where=few", "where=most"]
    assert found.slices[0].metrics[0].worse_by == 1.0
    assert found.slices[0].churn == 1.0


def test_what_is_missing_is_told() -> None:
    """Rows without a target are counted, no answer is wrong, a NaN spoils a regression by name."""
    model = answers({"target": ["a", None, "b"], "prediction": ["a", "a", None]})
    truth = truth_of([model], ("target",), None)
    found = compared(truth, model, ())
    assert (truth.without_target, found.rows) == (1, 2)
    assert found.metric("accuracy").candidate.value == 0.5  # type: ignore[union-attr]

    numbers = comparison([0.5, 1.5], [0.5, math.nan])
    assert math.isnan(numbers.metric("rmse").candidate.value)  # type: ignore[union-attr]


def test_one_class_only_is_measured() -> None:
    """A test set of one class has an accuracy, and no area under a curve."""
    found = comparison(["a"] * 5, ["a"] * 5)
    assert found.metric("accuracy").candidate.value == 1.0  # type: ignore[union-attr]
    scored = answers({"target": ["b"] * 3, "p": [0.1] * 3, "q": [0.9] * 3}, "p", "q")
    with pytest.raises(EvaluationError, match="1 classes"):
        truth_of([scored], ("target",), None)


@pytest.mark.parametrize(
    ("columns", "targets", "match"),
    [
        ({"target": ["a"], "prediction": ["a"]}, ("truth",), "no column 'truth'"),
        ({"target": [None, None], "prediction": ["a", "b"]}, ("target",), "missing in all 2"),
        ({"target": [f"c{i}" for i in range(300)], "prediction": ["a"] * 300}, ("target",), "more than 200"),
        ({"x": [1], "y": [0], "prediction": [1]}, ("x", "y"), "2 targets need as many"),
        ({"target": ["M", "B"], "prediction": ["0", "1"]}, ("target",), "no class in common"),
    ],
)
def test_what_cannot_be_compared_is_said(
    columns: dict[str, list[Any]], targets: tuple[str, ...], match: str
) -> None:
    """Each with what is wrong with which column."""
    with pytest.raises(EvaluationError, match=match):
        truth_of([answers(columns)], targets, None)


def test_only_rows_that_both_answered_are_compared() -> None:
    """A row that one model rejected is in neither's numbers; another test set is refused."""
    whole = answers({"target": list("abab"), "prediction": list("abab")})
    first, second = whole.at(np.array([0, 1, 3])), whole.at(np.array([1, 2, 3]))
    one, other = in_both(first, second)
    assert one.rows.tolist() == other.rows.tolist() == [1, 3]
    assert one.columns["target"].to_pylist() == ["b", "b"]

    changed = Answers(
        rows=whole.rows,
        columns=whole.columns,
        predictions=whole.predictions,
        rows_in=whole.rows_in,
        reasons={},
        fingerprints=("other",),
        seconds=0,
    )
    with pytest.raises(EvaluationError, match="changed between"):
        in_both(whole, changed)


def test_columns_that_are_no_probabilities_are_refused() -> None:
    """A label and a score are not the probabilities of two classes; nor are NaNs."""
    for table in ([[1, 0], [0.3, 0.9]], [[math.nan, 0.5], [0.5, 0.5]]):
        model = answers({"target": ["a", "b"], "p": table[0], "q": table[1]}, "p", "q")
        with pytest.raises(EvaluationError, match="are no probabilities"):
            truth_of([model], ("target",), None)


def test_labels_are_paired_by_name_and_a_missing_one_is_wrong() -> None:
    """The order of --target does not matter; no answer is no right answer."""
    model = answers({"t": [1, 0], "a": [0, 0]}, "a", "t")
    swapped = answers({"a": [1, None], "b": [0, 0], "x": [1, 0]}, "a", "b")
    truth = truth_of([model], ("t", "a"), None)
    assert compared(truth, model, ()).metric("subset_accuracy").candidate.value == 1.0  # type: ignore[union-attr]
    gap = truth_of([swapped], ("x", "b"), None)
    assert compared(gap, swapped, ()).metric("subset_accuracy").candidate.value == 0.5  # type: ignore[union-attr]


def test_a_kind_that_does_not_fit_is_refused() -> None:
    """What the caller calls it is what is measured, or nothing is."""
    with pytest.raises(EvaluationError, match="multiclass evaluation, not binary"):
        comparison(["a", "b", "c"], ["a", "b", "c"], kind="binary")
    with pytest.raises(EvaluationError, match="not labels"):
        comparison(["a", "b", "c"], ["a", "b", "c"], kind="labels")
    assert comparison(["a", "b"], ["a", "b"], kind="multiclass").kind == "binary"
