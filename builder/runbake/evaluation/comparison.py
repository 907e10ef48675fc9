"""A candidate beside its baseline on the same rows: metrics, differences, churn, shift, slices. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import stats

from runbake.evaluation.answers import Answers, labels_of
from runbake.evaluation.kinds import Truth
from runbake.evaluation.measures import (
    LOWER_IS_BETTER,
    NEITHER_IS_BETTER,
    Classes,
    Codes,
    Flags,
    Measured,
    Numbers,
    Tags,
)
from runbake.evaluation.ranking import Ranked
from runbake.evaluation.resampling import Floats, Units, blocks, cells, interval_of, p_value_of

MOST_SLICES = 12
"""Values of one column; a column with more is no column of slices."""
FEWEST_ROWS = 10
_EXAMPLES = 5
_CLOSE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval, which is None where there is no way to one."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of the candidate, and where there is a baseline its own and the difference.

    Attributes:
        difference: candidate minus baseline on the same rows, with its paired interval.
        p_value: that there is no difference, by the paired bootstrap.
    """

    name: str
    candidate: Estimate
    baseline: Estimate | None
    difference: Estimate | None
    p_value: float | None

    @property
    def better(self) -> str:
        """Which way is better: `lower`, `higher` or `neither`."""
        if self.name in NEITHER_IS_BETTER:
            return "neither"
        return "lower" if self.lower_is_better else "higher"

    @property
    def lower_is_better(self) -> bool:
        """Whether it is a loss or an error."""
        return self.name in LOWER_IS_BETTER

    @property
    def worse_by(self) -> float:
        """By how much the candidate is worse than the baseline; negative where it is better."""
        if self.difference is None:
            return math.nan
        return self.difference.value if self.lower_is_better else -self.difference.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """What changes for users: counts of rows whose answer is another than the baseline's.

    Attributes:
        fixed, broken: wrong before and right now, and the other way; of numbers, nearer or farther;
            of rankings, moved in a group that is ranked better or worse.
        mcnemar: p-value that as many are broken as fixed; None for numbers.
        by_class: changed rows and rows of each class of the target.
        fixed_rows, broken_rows: the first of them, by their number in the test set, from 0.
    """

    rows: int
    changed: int
    fixed: int
    broken: int
    mcnemar: float | None
    by_class: tuple[tuple[str, int, int], ...]
    fixed_rows: tuple[int, ...]
    broken_rows: tuple[int, ...]

    @property
    def share(self) -> float:
        """Changed rows of all."""
        return self.changed / self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How the answers are spread: shares of classes, or quantiles of numbers, of candidate and baseline.

    Attributes:
        distance: of classes the total variation distance, of numbers the Kolmogorov-Smirnov statistic.
    """

    labels: tuple[str, ...]
    candidate: tuple[float, ...]
    baseline: tuple[float, ...]
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The rows with one value of one column."""

    column: str
    value: str
    rows: int
    metrics: tuple[Metric, ...]
    churn: float | None

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.column}={self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        confusion: of each model, rows down by truth, the last column no answer.
        reliability: of the candidate's probabilities, as `Scores.reliability`.
        residuals: low, high and rows of each bin of the candidate's errors.
    """

    kind: str
    rows: int
    classes: tuple[str, ...]
    metrics: tuple[Metric, ...]
    slices: tuple[Slice, ...]
    confusion: tuple[tuple[tuple[int, ...], ...], ...]
    reliability: tuple[tuple[float, float, int], ...]
    residuals: tuple[tuple[float, float, int], ...]
    churn: Churn | None
    shift: Shift | None

    def metric(self, name: str) -> Metric | None:
        """The metric of this name over all rows."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def compared(truth: Truth, answers: Answers, columns: Sequence[str]) -> Comparison:
    """Measure everything; `columns` are those of slices, and ones with too many values are left out."""
    parts = [*zip(*truth.parts, strict=True)]
    churn, changed = _churn(truth, answers)
    return Comparison(
        kind=truth.kind,
        rows=len(truth.index),
        classes=truth.classes,
        metrics=tuple(metric for models in parts for metric in _metrics(models)),
        slices=_slices(parts, answers, truth, columns, changed),
        confusion=tuple(_table(model[0]) for model in truth.parts if isinstance(model[0], Classes)),
        reliability=tuple(
            row for part in truth.parts[0] if (found := getattr(part, "reliability", None)) for row in found()
        ),
        residuals=_residuals(truth.parts[0][0]),
        churn=churn,
        shift=_shift(truth),
    )


def _residuals(part: Measured) -> tuple[tuple[float, float, int], ...]:
    if not isinstance(part, Numbers) or not np.isfinite(part.guess).all():
        return ()
    errors = part.guess - part.truth
    counts, edges = np.histogram(errors, bins=20)
    return tuple(
        (float(low), float(high), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )


def _table(part: Classes) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in part.confusion()[:-1])


# --- metrics -------------------------------------------------------------------------------------------


def _metrics(models: Sequence[Measured]) -> tuple[Metric, ...]:
    units = _units(models)
    points = [model.points() for model in models]
    replicates = [model.replicates(units) for model in models]
    return tuple(_metric(name, points, replicates) for name in points[0])


def _units(models: Sequence[Measured]) -> Units:
    first = models[0]
    if isinstance(first, Ranked):
        return first.units()
    codes = [model.codes() for model in models]
    known = [code for code in codes if code is not None]
    if len(known) < len(models):
        return blocks(len(models[0]))
    joint: Codes = known[0]
    for code in known[1:]:
        joint = joint * (int(code.max()) + 1) + code
    return cells(joint)


def _metric(
    name: str, points: Sequence[Mapping[str, float]], replicates: Sequence[Mapping[str, Floats]]
) -> Metric:
    estimates = [
        Estimate(value=point[name], interval=interval_of(drawn[name]) if name in drawn else None)
        for point, drawn in zip(points, replicates, strict=True)
    ]
    if len(estimates) == 1:
        return Metric(name=name, candidate=estimates[0], baseline=None, difference=None, p_value=None)
    drawn = [found[name] for found in replicates if name in found]
    between = drawn[0] - drawn[1] if len(drawn) == 2 else None
    return Metric(
        name=name,
        candidate=estimates[0],
        baseline=estimates[1],
        difference=Estimate(
            value=estimates[0].value - estimates[1].value,
            interval=interval_of(between) if between is not None else None,
        ),
        p_value=p_value_of(between) if between is not None else None,
    )


# --- churn and shift -----------------------------------------------------------------------------------


def _churn(truth: Truth, answers: Answers) -> tuple[Churn | None, Flags | None]:
    if len(truth.parts) < 2:
        return None, None
    candidate, baseline = (model[0] for model in truth.parts)
    fixed: Flags
    broken: Flags
    if isinstance(candidate, Numbers) and isinstance(baseline, Numbers):
        changed = ~np.isclose(candidate.guess, baseline.guess, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
        now, before = (np.abs(model.guess - model.truth) for model in (candidate, baseline))
        fixed, broken = changed & (now < before), changed & ~(now <= before)
        p_value = None
    elif isinstance(candidate, Ranked) and isinstance(baseline, Ranked):
        # A row is another answer where its place is; better where its group is ranked better.
        changed = candidate.ranks() != baseline.ranks()
        gained = (candidate.of_groups()["ndcg"] - baseline.of_groups()["ndcg"])[candidate.group]
        fixed, broken = changed & (gained > _CLOSE), changed & (gained < -_CLOSE)
        p_value = None
    else:
        right, was = _right(candidate), _right(baseline)
        changed = _differs(candidate, baseline)
        fixed, broken = right & ~was, was & ~right
        moved = int(fixed.sum() + broken.sum())
        p_value = float(stats.binomtest(int(fixed.sum()), moved).pvalue) if moved else 1.0
    rows = answers.rows[truth.index]
    return Churn(
        rows=len(rows),
        changed=int(changed.sum()),
        fixed=int(fixed.sum()),
        broken=int(broken.sum()),
        mcnemar=p_value,
        by_class=_by_class(truth, changed),
        fixed_rows=tuple(int(row) for row in rows[fixed][:_EXAMPLES]),
        broken_rows=tuple(int(row) for row in rows[broken][:_EXAMPLES]),
    ), changed


def _right(part: Measured) -> Flags:
    found = part.right()
    if found is None:
        raise TypeError(f"{part!r} has no right answers")
    return found


def _differs(candidate: Measured, baseline: Measured) -> Flags:
    if isinstance(candidate, Tags) and isinstance(baseline, Tags):
        found: Flags = (candidate.guess != baseline.guess).any(axis=1)
        return found
    assert isinstance(candidate, Classes)  # noqa: S101 -- what `truth_of` makes
    assert isinstance(baseline, Classes)  # noqa: S101
    differs: Flags = candidate.guess != baseline.guess
    return differs


def _by_class(truth: Truth, changed: Flags) -> tuple[tuple[str, int, int], ...]:
    if truth.target is None:
        return ()
    total = np.bincount(truth.target, minlength=len(truth.classes))
    moved = np.bincount(truth.target[changed], minlength=len(truth.classes))
    return tuple((name, int(moved[i]), int(total[i])) for i, name in enumerate(truth.classes) if total[i] > 0)


def _shift(truth: Truth) -> Shift | None:
    if len(truth.parts) < 2:
        return None
    candidate, baseline = (model[0] for model in truth.parts)
    if isinstance(candidate, Numbers) and isinstance(baseline, Numbers):
        guesses = [model.guess[np.isfinite(model.guess)] for model in (candidate, baseline)]
        if not all(len(guess) for guess in guesses):
            return None
        at = (0, 5, 25, 50, 75, 95, 100)
        spread = [tuple(float(value) for value in np.percentile(guess, at)) for guess in guesses]
        distance = float(stats.ks_2samp(*guesses).statistic)
        labels = ("lowest", *(f"{each} %" for each in at[1:-1]), "highest")
        return Shift(labels=labels, candidate=spread[0], baseline=spread[1], distance=distance)
    if not (isinstance(candidate, Classes) and isinstance(baseline, Classes)):
        return None
    shares = [
        np.bincount(model.guess, minlength=model.classes) / len(model.guess)
        for model in (candidate, baseline)
    ]
    return Shift(
        labels=(*truth.classes, "no answer"),
        candidate=tuple(float(share) for share in shares[0]),
        baseline=tuple(float(share) for share in shares[1]),
        distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
    )


# --- slices --------------------------------------------------------------------------------------------


def _slices(
    parts: Sequence[Sequence[Measured]],
    answers: Answers,
    truth: Truth,
    columns: Sequence[str],
    changed: Flags | None,
) -> tuple[Slice, ...]:
    found = []
    for column in columns:
        for value, index in _values(answers.columns[column], truth.index):
            taken = [[model.take(index) for model in models] for models in parts]
            found.append(
                Slice(
                    column=column,
                    value=value,
                    rows=len(index),
                    metrics=tuple(metric for models in taken for metric in _metrics(models)),
                    churn=float(changed[index].mean()) if changed is not None else None,
                )
            )
    return tuple(sorted(found, key=_badness))


def _values(column: pa.ChunkedArray, rows: Codes) -> list[tuple[str, Codes]]:
    """Each value with its rows; none where the column has too many values."""
    codes, names = labels_of(column)
    codes = codes[rows]
    if len(names) > MOST_SLICES:
        return []
    each = [(name, np.flatnonzero(codes == code)) for code, name in enumerate(names)]
    each.append(("(none)", np.flatnonzero(codes < 0)))
    return [(name, index) for name, index in each if len(index) >= FEWEST_ROWS]


def _badness(one: Slice) -> tuple[float, float]:
    """The worst first: what lost most against the baseline, then what is worst in itself."""
    first = one.metrics[0]
    lost = first.worse_by if math.isfinite(first.worse_by) else 0.0
    value = first.candidate.value if math.isfinite(first.candidate.value) else 0.0
    return -lost, -value if first.lower_is_better else value
