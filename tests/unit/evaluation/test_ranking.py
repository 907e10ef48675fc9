"""Rankings: scikit-learn's numbers for every group, groups in the bootstrap, and what becomes of odd rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from runbake.errors import EvaluationError
from runbake.evaluation import compared, decided, gate_of, truth_of
from runbake.evaluation.ranking import TOP, Ranked
from tests.unit.evaluation.samples import answers, facts_of

ROW = st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([-1.0, 0.0, 0.5, 3.0]))


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=60))
def test_each_group_has_scikit_learn_s_numbers(rows: list[tuple[int, float, float]]) -> None:
    """Also where scores are equal, a group has one row, or more than ten."""
    group, truth, guess = (np.array(column) for column in zip(*rows, strict=True))
    _, group = np.unique(group, return_inverse=True)
    found = Ranked(truth=truth, guess=guess, group=group).of_groups()
    for code in range(int(group.max()) + 1):
        mine = group == code
        relevance, scores = truth[mine], guess[mine]
        if not (relevance > 0).any():
            continue
        if mine.sum() > 1:
            assert found["ndcg"][code] == pytest.approx(sk.ndcg_score([relevance], [scores]))
            assert found[f"ndcg_at_{TOP}"][code] == pytest.approx(sk.ndcg_score([relevance], [scores], k=TOP))
        precision = sk.label_ranking_average_precision_score([relevance > 0], [scores])
        assert found["map"][code] == pytest.approx(precision)
        best = scores[relevance > 0].max()
        assert found["mrr"][code] == pytest.approx(1 / (scores >= best).sum())


def test_groups_are_drawn_and_not_rows() -> None:
    """A row more in every group makes no interval narrower; ones without a relevant row count nowhere."""
    luck = np.random.default_rng(1)
    group = np.repeat(np.arange(50), 4)
    truth = np.tile([1.0, 0.0, 0.0, 0.0], 50)
    part = Ranked(truth=truth, guess=luck.normal(size=200), group=group)
    twice = Ranked(truth=np.tile(truth, 1), guess=part.guess, group=group)
    points, drawn = part.points(), part.replicates(part.units())
    assert drawn["mrr"].mean() == pytest.approx(points["mrr"], abs=0.02)
    spread = part.of_groups()["mrr"].std() / np.sqrt(50)
    assert drawn["mrr"].std() == pytest.approx(spread, rel=0.15)
    assert twice.points() == points
    empty = Ranked(
        truth=np.r_[truth, 0, 0], guess=np.r_[part.guess, 1, 2], group=np.r_[group, 50, 50].astype(np.int64)
    )
    assert empty.points() == pytest.approx(points)
    nothing = Ranked(truth=np.zeros(3), guess=np.arange(3.0), group=np.zeros(3, dtype=np.int64))
    assert np.isnan(nothing.points()["ndcg"])


def ranking(columns: dict[str, list[Any]], *guesses: list[Any]) -> Any:
    models = [answers({**columns, "prediction": guess}) for guess in guesses]
    return compared(truth_of(models, ("target",), None, "query"), models[0], ("kind",))


def test_a_ranking_is_compared_gated_and_sliced() -> None:
    """The candidate turns the groups of one slice round, which the mean of all hides."""
    queries = [f"q{i // 3}" for i in range(300)]
    columns = {
        "query": queries,
        "kind": ["rare" if i < 30 else "usual" for i in range(300)],
        "target": [1.0, 0.0, 0.0] * 100,
    }
    before = [0.0, 1.0, 2.0] * 60 + [2.0, 1.0, 0.0] * 40
    before[:30] = [2.0, 1.0, 0.0] * 10
    after = [2.0, 1.0, 0.0] * 100
    after[:30] = [0.0, 1.0, 2.0] * 10
    found = ranking(columns, after, before)

    assert found.kind == "ranking"
    whole, slices = (
        gate_of({"metric": "ndcg", "worse-by-at-most": 0}),
        gate_of({"metric": "mrr", "worse-by-at-most": 0.1, "slices": True}),
    )
    outcomes = {(one.where): one.outcome for one in decided([whole], found, facts_of(found))}
    assert outcomes == {"": "passed"}
    outcomes = {one.where: one.outcome for one in decided([slices], found, facts_of(found))}
    assert outcomes["kind=rare"] == "failed"
    assert found.slices[0].name == "kind=rare"
    assert (found.churn.broken, found.churn.changed, found.churn.fixed) == (20, 120, 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": ["a", None, "a"]}, "no value in query"),
        ({"target": [-1.0, 1.0, 0.0]}, "negative"),
        ({"target": ["good", "bad", "bad"]}, "numbers"),
        ({"target": [None, None, None]}, "missing in all"),
    ],
)
def test_what_is_no_ranking_is_said(change: dict[str, list[Any]], said: str) -> None:
    """With the column or value that is wrong."""
    columns: dict[str, list[Any]] = {"query": ["a"] * 3, "kind": ["k"] * 3, "target": [1.0, 0.0, 0.0]}
    with pytest.raises(EvaluationError, match=said):
        ranking({**columns, **change}, [1.0, 2.0, 3.0])


def test_no_answer_comes_last() -> None:
    """It is neither left out nor taken for a number."""
    columns = {"query": ["a"] * 2, "kind": ["k"] * 2, "target": [1.0, 0.0]}
    found = ranking(columns, [None, -1e300])
    assert found.metric("mrr").candidate.value == 0.5
