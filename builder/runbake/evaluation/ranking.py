"""Rankings: scores of the rows of each group, beside how relevant each row is.

A group is a query, a session, a user. Its metrics are scikit-learn's (`ndcg_score`, and the mean of
`label_ranking_average_precision_score` as `map`), computed for all groups at once; a unit test holds them
against scikit-learn's. Equal scores are no order: gains are averaged over them, and a relevant row stands
behind all that have its score. Groups are drawn in the bootstrap, not rows, as rows of one group are not
independent. A group without a relevant row can be ranked neither well nor badly, and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runbake.evaluation.resampling import Codes, Flags, Floats, Units, blocks

TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Relevance, score and group of each row; groups are codes from 0, no answer is the lowest score."""

    truth: Floats
    guess: Floats
    group: Codes

    def __len__(self) -> int:
        """Rows."""
        return len(self.truth)

    def take(self, index: Codes) -> Ranked:
        """Only these rows, ranked among themselves."""
        _, group = np.unique(self.group[index], return_inverse=True)
        return Ranked(truth=self.truth[index], guess=self.guess[index], group=group.astype(np.int64))

    def codes(self) -> None:
        """Rows are numbers."""

    def right(self) -> None:
        """A row stands high or low, not right or wrong."""

    def units(self) -> Units:
        """Each group for itself, or blocks of groups where there are many."""
        of_group = blocks(self._groups())
        return Units(of_row=of_group.of_row[self.group], weights=of_group.weights)

    def points(self) -> dict[str, float]:
        """The mean of each metric over the groups that have a relevant row; NaN where none has."""
        found, counted = self.of_groups(), self._counted()
        return {
            name: float(values[counted].mean()) if counted.any() else float("nan")
            for name, values in found.items()
        }

    def replicates(self, units: Units) -> dict[str, Floats]:
        """The same of each replicate."""
        counted = self._counted()
        unit = np.zeros(self._groups(), dtype=np.int64)
        unit[self.group] = units.of_row
        weights = units.weights
        total = weights @ np.bincount(unit, weights=counted, minlength=units.count)

        def mean(values: Floats) -> Floats:
            summed = weights @ np.bincount(unit, weights=values * counted, minlength=units.count)
            drawn: Floats = np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0)
            return drawn

        return {name: mean(values) for name, values in self.of_groups().items()}

    def of_groups(self) -> Mapping[str, Floats]:
        """Each metric of each group, 0 where it has no relevant row.

        Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (2002), for ndcg.
        """
        order = np.lexsort((-self.guess, self.group))
        group, truth = self.group[order], self.truth[order]
        place = _places(group)
        begins = np.r_[True, (group[1:] != group[:-1]) | (self.guess[order][1:] != self.guess[order][:-1])]
        tie = np.cumsum(begins) - 1
        size = np.bincount(tie)
        rank = (place[begins] + size)[tie]  # behind all of the same score
        relevant = truth > 0
        above = _within(group, relevant.astype(np.float64))[np.cumsum(size) - 1][tie]
        hits = np.bincount(group, weights=relevant, minlength=self._groups())
        precision = np.bincount(group, weights=relevant * above / rank, minlength=self._groups())
        first = np.full(self._groups(), np.inf)
        np.minimum.at(first, group[relevant], rank[relevant])
        return {
            "ndcg": self._ndcg(group, truth, place, tie, None),
            f"ndcg_at_{TOP}": self._ndcg(group, truth, place, tie, TOP),
            "map": np.divide(precision, hits, out=np.zeros(self._groups()), where=hits > 0),
            "mrr": 1 / first,
        }

    def ranks(self) -> Codes:
        """Each row's place in its group, behind all of the same score; from 1."""
        order = np.lexsort((-self.guess, self.group))
        group, guess = self.group[order], self.guess[order]
        begins = np.r_[True, (group[1:] != group[:-1]) | (guess[1:] != guess[:-1])]
        tie = np.cumsum(begins) - 1
        found = np.empty(len(order), dtype=np.int64)
        found[order] = (_places(group)[begins] + np.bincount(tie))[tie]
        return found

    def _ndcg(self, group: Codes, truth: Floats, place: Codes, tie: Codes, top: int | None) -> Floats:
        discount = np.where(place < (top or len(place)), 1 / np.log2(place + 2), 0.0)
        gain = np.bincount(tie, weights=truth) / np.bincount(tie)
        found = np.bincount(group, weights=gain[tie] * discount, minlength=self._groups())
        best = self.truth[np.lexsort((-self.truth, self.group))]
        ideal = np.bincount(group, weights=best * discount, minlength=self._groups())
        return np.divide(found, ideal, out=np.zeros(self._groups()), where=ideal > 0)

    def _groups(self) -> int:
        return int(self.group.max()) + 1 if len(self.group) else 0

    def _counted(self) -> Flags:
        found: Flags = np.bincount(self.group, weights=self.truth > 0, minlength=self._groups()) > 0
        return found


def _places(group: Codes) -> Codes:
    """The position of each row in its group, from 0; groups lie together."""
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[begins, len(group)])
    places: Codes = np.arange(len(group)) - np.repeat(begins, sizes)
    return places


def _within(group: Codes, values: Floats) -> Floats:
    """Cumulated in each group; groups lie together."""
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[begins, len(group)])
    summed = np.cumsum(values)
    before = np.r_[0.0, summed][begins]
    found: Floats = summed - np.repeat(before, sizes)
    return found
