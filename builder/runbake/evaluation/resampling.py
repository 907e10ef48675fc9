"""The bootstrap over units: rows, cells of equal rows, or random blocks of rows where there are many.

Resampling rows of a table is drawing counts for its cells from a multinomial distribution, and the mean of
many rows spreads as the mean of random blocks of them does. So a thousand rows and a million cost the same.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REPLICATES = 500
BLOCKS = 2000
LEVEL = 0.95
SEED = 20_260_101
"""The same numbers each time: an interval should not depend on who asks."""

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Each row's unit, shape (n,), and each unit's weight in every replicate, shape (REPLICATES, units)."""

    of_row: Codes
    weights: Floats

    @property
    def count(self) -> int:
        """How many units there are."""
        return int(self.weights.shape[1])

    def sums(self, values: npt.NDArray[np.generic]) -> Floats:
        """A row's value summed over each replicate's rows, shape (REPLICATES,)."""
        return self.weights @ np.bincount(self.of_row, weights=values, minlength=self.count)


def blocks(rows: int) -> Units:
    """Each row for itself, or random blocks of rows where there are more than `BLOCKS`."""
    luck = np.random.default_rng(SEED)
    count = min(rows, BLOCKS)
    of_row = luck.permutation(rows) % count
    weights = luck.multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    return Units(of_row=of_row, weights=weights.astype(np.float64))


def cells(codes: Codes) -> Units:
    """One unit for all rows with the same code."""
    _, of_row, counts = np.unique(codes, return_inverse=True, return_counts=True)
    luck = np.random.default_rng(SEED)
    drawn = luck.multinomial(len(codes), counts / len(codes), size=REPLICATES)
    return Units(of_row=of_row.astype(np.int64), weights=drawn / counts)


def interval_of(replicates: Floats) -> tuple[float, float] | None:
    """The percentile interval; None where replicates have no value."""
    known = replicates[np.isfinite(replicates)]
    if len(known) < REPLICATES // 2:
        return None
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def p_value_of(differences: Floats) -> float | None:
    """Two-sided, that the difference is none; no smaller than the replicates can tell.

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 4.2.5.
    """
    known = differences[np.isfinite(differences)]
    if len(known) < REPLICATES // 2:
        return None
    fewer = min(int(np.sum(known <= 0)), int(np.sum(known >= 0)))
    return min(1.0, 2 * (fewer + 1) / (len(known) + 1))
