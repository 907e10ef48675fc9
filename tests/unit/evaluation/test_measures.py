"""What the bootstrap computes for every replicate is what scikit-learn computes for the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from runbake.evaluation.measures import Classes, Measured, Numbers, Scores, Tags
from runbake.evaluation.resampling import REPLICATES, Units, blocks, cells, interval_of


def as_they_are(rows: int) -> Units:
    """Units whose every replicate is the sample itself."""
    return Units(of_row=np.arange(rows), weights=np.ones((2, rows)))


def agree(part: Measured, *, within: float = 1e-9) -> None:
    points, replicates = part.points(), part.replicates(as_they_are(len(part)))
    assert replicates
    for name, drawn in replicates.items():
        assert drawn == pytest.approx([points[name]] * 2, abs=within), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=60))
def test_classes_agree_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    """Every metric from a confusion matrix is scikit-learn's, also where classes are missing."""
    truth, guess = (np.array(column) for column in zip(*rows, strict=True))
    part = Classes(truth=truth, guess=guess, classes=5)
    agree(part)
    assert part.points()["f1_macro"] == pytest.approx(
        # The last code is no answer: it is wrong, and no class of its own.
        sk.f1_score(
            truth, guess, labels=np.setdiff1d([*truth, *guess], [4]), average="macro", zero_division=0
        )
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 80))
def test_numbers_agree_with_scikit_learn(seed: int, rows: int) -> None:
    """So is every metric of a regression that is a function of sums."""
    luck = np.random.default_rng(seed)
    agree(Numbers(truth=luck.normal(size=rows), guess=luck.normal(size=rows)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(4, 80))
def test_scores_and_tags_agree_with_scikit_learn(seed: int, rows: int) -> None:
    """So are losses, the ROC curve's area while bins are no coarser than rows, and labels of several."""
    luck = np.random.default_rng(seed)
    scores = luck.dirichlet([1, 1], size=rows)
    truth = np.arange(rows) % 2
    part = Scores(truth=truth, scores=scores)
    agree(part)
    assert part.points()["log_loss"] == pytest.approx(sk.log_loss(truth, scores))
    assert part.points()["brier"] == pytest.approx(sk.brier_score_loss(truth, scores[:, 1]))
    agree(Tags(truth=luck.random((rows, 3)) < 0.5, guess=luck.random((rows, 3)) < 0.5))


def test_cells_and_blocks_give_the_interval_of_theory() -> None:
    """The interval of a share is as wide as the normal approximation says, by cells as by blocks."""
    rows, share = 40_000, 0.8
    right = np.arange(rows) < rows * share
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / rows)
    for units in (cells(right.astype(np.int64)), blocks(rows)):
        drawn = units.sums(right) / units.sums(np.ones(rows))
        low, high = interval_of(drawn) or (0.0, 0.0)
        assert len(drawn) == REPLICATES
        assert low < share < high
        assert high - low == pytest.approx(expected, rel=0.2)
