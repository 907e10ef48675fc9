"""What is measured of answers: each metric by scikit-learn, and the same for every replicate at once.

A unit test holds the two against each other on random answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn import metrics as sk

from runbake.evaluation.resampling import Floats, Units

Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
BINS = 64
_TINY = 1e-15

LOWER_IS_BETTER = frozenset(
    {"mae", "rmse", "median_absolute_error", "log_loss", "brier", "hamming_loss", "calibration_error"}
)
NEITHER_IS_BETTER = frozenset({"mean_error"})
"""All other metrics are better the higher they are."""


class Measured(Protocol):
    """Answers beside the truth."""

    def __len__(self) -> int:
        """Rows."""

    def take(self, index: Codes) -> Self:
        """Only these rows."""

    def points(self) -> Mapping[str, float]:
        """Every metric of these rows; NaN where it is not defined."""

    def replicates(self, units: Units) -> Mapping[str, Floats]:
        """The metrics that have an interval, for each replicate."""

    def codes(self) -> Codes | None:
        """Equal for rows that are alike in every metric; None where rows are numbers."""

    def right(self) -> Flags | None:
        """Which answers are right; None where an answer is only near or far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """One class for each row, as codes below `classes`; the last code means no answer."""

    truth: Codes
    guess: Codes
    classes: int

    def __len__(self) -> int:
        """Rows."""
        return len(self.truth)

    def take(self, index: Codes) -> Classes:
        """Only these rows."""
        return Classes(truth=self.truth[index], guess=self.guess[index], classes=self.classes)

    def confusion(self) -> Codes:
        """Rows by truth (down) and answer (across), shape (classes, classes)."""
        counts = np.bincount(self.codes(), minlength=self.classes**2)
        return counts.reshape(self.classes, self.classes).astype(np.int64)

    def codes(self) -> Codes:
        """Truth and answer as one number."""
        return self.truth * self.classes + self.guess

    def right(self) -> Flags:
        """Where the answer is the truth."""
        found: Flags = self.truth == self.guess
        return found

    def points(self) -> dict[str, float]:
        """By scikit-learn, over the cells of the confusion matrix; no answer is wrong, and no class."""
        table = self.confusion()
        truth, guess = np.nonzero(table)
        weight = table[truth, guess]
        seen = np.union1d(truth, guess)
        labels = seen[seen < self.classes - 1]

        def averaged(average: str) -> tuple[float, float, float]:
            precision, recall, f1, _ = sk.precision_recall_fscore_support(
                truth, guess, labels=labels, sample_weight=weight, average=average, zero_division=0
            )
            return float(precision), float(recall), float(f1)

        precision, recall, f1 = averaged("macro")
        return {
            "accuracy": float(sk.accuracy_score(truth, guess, sample_weight=weight)),
            "balanced_accuracy": _balanced(truth, guess, weight),
            "f1_macro": f1,
            "precision_macro": precision,
            "recall_macro": recall,
            "f1_weighted": averaged("weighted")[2],
            "mcc": _mcc(truth, guess, weight),
        }

    def replicates(self, units: Units) -> dict[str, Floats]:
        """The same from each replicate's confusion matrix."""
        return of_confusion(self._tables(units))

    def _tables(self, units: Units) -> Floats:
        ones = np.ones(len(self.truth))
        rows = sparse.csr_matrix((ones, (units.of_row, self.codes())), shape=(units.count, self.classes**2))
        tables = rows.T @ units.weights.T
        return np.ascontiguousarray(tables.T).reshape(-1, self.classes, self.classes)


def _balanced(truth: Codes, guess: Codes, weight: Codes) -> float:
    # scikit-learn warns of a class that is only answered, and leaves it out; so do we, by asking for recall.
    recalls = sk.recall_score(
        truth, guess, sample_weight=weight, labels=np.unique(truth), average=None, zero_division=0
    )
    return float(np.mean(recalls))


def _mcc(truth: Codes, guess: Codes, weight: Codes) -> float:
    # scikit-learn warns where there is one class only, and answers 0 as we do.
    one = len(np.union1d(truth, guess)) == 1
    return 0.0 if one else float(sk.matthews_corrcoef(truth, guess, sample_weight=weight))


def of_confusion(tables: Floats) -> dict[str, Floats]:
    """Metrics of many confusion matrices, shape (…, classes, classes), whose last class is no answer."""
    hit = np.diagonal(tables, axis1=-2, axis2=-1)
    truth, guess, total = tables.sum(-1), tables.sum(-2), tables.sum((-2, -1))
    precision, recall = _ratio(hit, guess), _ratio(hit, truth)
    f1 = _ratio(2 * hit, truth + guess)
    seen = (truth + guess) > 0
    seen[..., -1] = False  # no answer is no class
    correct = hit.sum(-1)
    spread = np.sqrt((total**2 - (guess**2).sum(-1)) * (total**2 - (truth**2).sum(-1)))
    return {
        "accuracy": _ratio(correct, total),
        "balanced_accuracy": _mean(recall, truth > 0),
        "f1_macro": _mean(f1, seen),
        "precision_macro": _mean(precision, seen),
        "recall_macro": _mean(recall, seen),
        "f1_weighted": _ratio((f1 * truth).sum(-1), total),
        "mcc": _ratio(correct * total - (truth * guess).sum(-1), spread),
    }


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below != 0)


def _mean(values: Floats, counted: Flags) -> Floats:
    return _ratio((values * counted).sum(-1), counted.sum(-1).astype(np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The probability of each class for each row, shape (n, classes)."""

    truth: Codes
    scores: Floats

    def __len__(self) -> int:
        """Rows."""
        return len(self.truth)

    def take(self, index: Codes) -> Scores:
        """Only these rows."""
        return Scores(truth=self.truth[index], scores=self.scores[index])

    def codes(self) -> None:
        """Rows are numbers."""

    def right(self) -> None:
        """`Classes` tells."""

    def losses(self) -> tuple[Floats, Floats]:
        """Each row's log loss and Brier score."""
        scores = np.clip(self.scores, _TINY, 1)
        scores = scores / scores.sum(axis=1, keepdims=True)
        chosen = scores[np.arange(len(self.truth)), self.truth]
        wanted = np.eye(self.scores.shape[1])[self.truth]
        brier = ((self.scores - wanted) ** 2).sum(axis=1)
        loss: Floats = -np.log(chosen)
        halved: Floats = brier / 2 if self.scores.shape[1] == 2 else brier
        return loss, halved

    def points(self) -> dict[str, float]:
        """Log loss and Brier score; for two classes the area under the ROC curve by scikit-learn."""
        loss, brier = self.losses()
        found = {
            "log_loss": float(loss.mean()),
            "brier": float(brier.mean()),
            "calibration_error": self.calibration_error(),
        }
        if self.scores.shape[1] == 2:
            both = len(np.unique(self.truth)) == 2
            found["roc_auc"] = (
                float(sk.roc_auc_score(self.truth, self.scores[:, 1])) if both else float("nan")
            )
        return found

    def replicates(self, units: Units) -> dict[str, Floats]:
        """Means over each replicate; the ROC curve's area from scores in bins of equal numbers of rows."""
        loss, brier = self.losses()
        rows = units.sums(np.ones(len(loss)))
        found = {"log_loss": units.sums(loss) / rows, "brier": units.sums(brier) / rows}
        if self.scores.shape[1] == 2:
            found["roc_auc"] = self._areas(units)
        return found

    def _areas(self, units: Units) -> Floats:
        score = self.scores[:, 1]
        edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS * 4 + 1)[1:-1]))
        place = np.searchsorted(edges, score, side="right")
        bins = len(edges) + 1
        ones = np.ones(len(score))
        column = self.truth * bins + place
        rows = sparse.csr_matrix((ones, (units.of_row, column)), shape=(units.count, 2 * bins))
        counts = np.asarray((rows.T @ units.weights.T).T).reshape(-1, 2, bins)
        negative, positive = counts[:, 0], counts[:, 1]
        below = np.cumsum(negative, axis=1) - negative
        won = (positive * (below + negative / 2)).sum(axis=1)
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        areas: Floats = np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)
        return areas

    def reliability(self, bins: int = 10) -> list[tuple[float, float, int]]:
        """By the probability of the answered class: its mean, the share that is right, how many rows."""
        top, guess = self.scores.max(axis=1), self.scores.argmax(axis=1)
        place = np.minimum((top * bins).astype(np.int64), bins - 1)
        count = np.bincount(place, minlength=bins)
        said = np.bincount(place, weights=top, minlength=bins)
        right = np.bincount(place, weights=guess == self.truth, minlength=bins)
        return [(said[i] / count[i], right[i] / count[i], int(count[i])) for i in range(bins) if count[i]]

    def calibration_error(self) -> float:
        """The expected calibration error over ten bins of equal width.

        Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.
        """
        found = self.reliability()
        return float(sum(abs(said - right) * count for said, right, count in found) / len(self.truth))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Whether any of the answered labels is the truth."""

    hit: Flags

    def __len__(self) -> int:
        """Rows."""
        return len(self.hit)

    def take(self, index: Codes) -> Labels:
        """Only these rows."""
        return Labels(hit=self.hit[index])

    def codes(self) -> Codes:
        """Hit or not."""
        return self.hit.astype(np.int64)

    def right(self) -> None:
        """`Classes` tells, of the first label."""

    def points(self) -> dict[str, float]:
        """The share of rows whose truth is among the labels."""
        return {"recall_at_k": float(self.hit.mean())}

    def replicates(self, units: Units) -> dict[str, Floats]:
        """The same of each replicate."""
        return {"recall_at_k": units.sums(self.hit) / units.sums(np.ones(len(self.hit)))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """Several yes and no for each row, shape (n, labels)."""

    truth: Flags
    guess: Flags

    def __len__(self) -> int:
        """Rows."""
        return len(self.truth)

    def take(self, index: Codes) -> Tags:
        """Only these rows."""
        return Tags(truth=self.truth[index], guess=self.guess[index])

    def codes(self) -> None:
        """There may be as many combinations as rows."""

    def right(self) -> Flags:
        """Where every label is right."""
        found: Flags = (self.truth == self.guess).all(axis=1)
        return found

    def points(self) -> dict[str, float]:
        """By scikit-learn."""
        truth, guess = self.truth.astype(int), self.guess.astype(int)
        return {
            "subset_accuracy": float(sk.accuracy_score(truth, guess)),
            "hamming_loss": float(sk.hamming_loss(truth, guess)),
            "f1_micro": float(sk.f1_score(truth, guess, average="micro", zero_division=0)),
            "f1_macro": float(sk.f1_score(truth, guess, average="macro", zero_division=0)),
        }

    def replicates(self, units: Units) -> dict[str, Floats]:
        """The same from each replicate's counts."""
        rows = units.sums(np.ones(len(self.truth)))
        labels = range(self.truth.shape[1])
        hit = np.stack([units.sums(self.truth[:, i] & self.guess[:, i]) for i in labels], axis=1)
        said = np.stack([units.sums(self.truth[:, i]) + units.sums(self.guess[:, i]) for i in labels], axis=1)
        return {
            "subset_accuracy": units.sums(self.right()) / rows,
            "hamming_loss": units.sums((self.truth != self.guess).mean(axis=1)) / rows,
            "f1_micro": _ratio(2 * hit.sum(axis=1), said.sum(axis=1)),
            "f1_macro": _ratio(2 * hit, said).mean(axis=1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """One number for each row; an answer that is none is NaN, and spoils every metric by name."""

    truth: Floats
    guess: Floats

    def __len__(self) -> int:
        """Rows."""
        return len(self.truth)

    def take(self, index: Codes) -> Numbers:
        """Only these rows."""
        return Numbers(truth=self.truth[index], guess=self.guess[index])

    def codes(self) -> None:
        """Rows are numbers."""

    def right(self) -> None:
        """A number is near or far, not right or wrong."""

    def points(self) -> dict[str, float]:
        """By scikit-learn; the mean error says on which side the model errs."""
        truth, guess = self.truth, self.guess
        if not np.isfinite(guess).all():
            return dict.fromkeys(("rmse", "mae", "r2", "median_absolute_error", "mean_error"), float("nan"))
        return {
            "rmse": float(sk.root_mean_squared_error(truth, guess)),
            "mae": float(sk.mean_absolute_error(truth, guess)),
            "r2": float(sk.r2_score(truth, guess)) if len(truth) > 1 else float("nan"),
            "median_absolute_error": float(sk.median_absolute_error(truth, guess)),
            "mean_error": float((guess - truth).mean()),
        }

    def replicates(self, units: Units) -> dict[str, Floats]:
        """Those that are functions of sums."""
        error = self.guess - self.truth
        rows = units.sums(np.ones(len(error)))
        squares = units.sums(error**2)
        middle = self.truth.mean()
        spread = units.sums((self.truth - middle) ** 2) - units.sums(self.truth - middle) ** 2 / rows
        ratio = np.divide(squares, spread, out=np.full(len(rows), np.nan), where=spread > 0)
        return {
            "rmse": np.sqrt(squares / rows),
            "mae": units.sums(np.abs(error)) / rows,
            "r2": 1 - ratio,
            "mean_error": units.sums(error) / rows,
        }
