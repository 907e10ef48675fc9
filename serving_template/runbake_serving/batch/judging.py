"""One batch through the model: predictions of the rows that it takes, and a reason for each that it does not.

A batch that is refused is asked again in halves, down to single rows: a row is rejected only for what it does
on its own. What the model raises and its flavor does not count as a refusal of values is no row's fault, and
ends the job, as it is answered 500 online.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from runbake_serving.batch.answers import columns_of, joined
from runbake_serving.batch.batches import Batch
from runbake_serving.batch.failures import BatchFailure, Incomplete, TooManyRejects
from runbake_serving.batch.rejects import Reject
from runbake_serving.errors import InvalidRequest, RequestError
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.model.model import Checked, Model
from runbake_serving.model.tables import TableArray, TableColumns
from runbake_serving.prediction.blame import first_gap
from runbake_serving.prediction.calls import Raised, outcome_of
from runbake_serving.prediction.joining import rows_of

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd

_Places = np.ndarray[Any, Any]
_A_ROW = re.compile(r"(,| in)? row \d+(?=[:,]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A batch's outcome: `rows_in` = `rows_out` + its rejects. Columns: predictions, then kept ones."""

    rows_in: int
    rows_out: int
    columns: Mapping[str, Any]
    rejects: tuple[Reject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Asks one model; `most_rejects` None accepts any number, and is of one part here."""

    model: Model
    prediction: str

    def judged(self, batch: Batch, *, first_row: int, most_rejects: int | None) -> Judged:
        """What becomes of these rows; `first_row` is the batch's first in its part.

        Raises:
            TooManyRejects: more than `most_rejects`; the message names the last of them.
            BatchFailure: the model failed.
        """
        case = _Case(judge=self, batch=batch, first_row=first_row, most_rejects=most_rejects)
        if batch.fault:
            case.reject(0, None, batch.fault)
        elif batch.rows:
            case.solve(None)
        return case.outcome()


class _Refused(Exception):
    """These rows, or one of them, are not taken."""

    def __init__(self, field_: str | None, reason: str, checked: Checked | None = None) -> None:
        super().__init__(reason)
        self.field, self.reason, self.checked = field_, reason, checked


@dataclass(slots=True, kw_only=True)
class _Case:
    judge: Judge
    batch: Batch
    first_row: int
    most_rejects: int | None
    taken: list[tuple[_Places | None, dict[str, Any]]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def solve(self, places: _Places | None) -> None:
        """Take or reject these rows; None is all."""
        try:
            self.taken.append((places, self._asked(places)))
        except _Refused as refused:
            rows = np.arange(self.batch.rows) if places is None else places
            if len(rows) == 1:
                if places is None and not self.batch.fault:
                    # Its block may hold more than the row: blank lines, or what a parser takes for one.
                    return self.solve(rows)
                self.reject(int(rows[0]), refused.field, refused.reason)
                return None
            gaps = _gaps(refused.checked.data) if refused.checked is not None else None
            if gaps is None or len(gaps) != len(rows) or gaps.all() or not gaps.any():
                gaps = np.arange(len(rows)) >= len(rows) // 2
            self.solve(rows[~gaps])
            self.solve(rows[gaps])

    def reject(self, row: int, field_: str | None, reason: str) -> None:
        """Write one row down as rejected."""
        place = self.batch.file_row(row)
        self.rejects.append(Reject(row=self.first_row + row, file_row=place, field=field_, reason=reason))
        if self.most_rejects is not None and len(self.rejects) > self.most_rejects:
            raise TooManyRejects(f"row {place}: {self.rejects[-1].kind}")

    def _asked(self, places: _Places | None) -> dict[str, Any]:
        model, rows = self.judge.model, self.batch.rows if places is None else len(places)
        numbers = None if places is None else places.tolist()
        try:
            checked = model.checked(self.batch.question(numbers))
            if rows_of(checked.data) != rows:
                raise InvalidRequest("it cannot be read as one row")
            kept = self.batch.kept(numbers)
        except RequestError as error:
            raise _Refused(error.column, _A_ROW.sub("", str(error))) from error
        answer = outcome_of(partial(model.answer, checked))
        if isinstance(answer, Raised):
            raise self._raised(answer.error, checked) from answer.error
        predicted = columns_of(answer, rows, model.signature.outputs, self.judge.prediction)
        if both := sorted(predicted.keys() & kept.keys()):
            raise BatchFailure(
                f"the column {both[0]!r} is kept from the input and predicted too",
                hint="--prediction NAME, or keep less",
            )
        return {**predicted, **kept}

    def _raised(self, error: BaseException, checked: Checked) -> Exception:
        model = self.judge.model
        if isinstance(error, MemoryError):
            return Incomplete("a prediction ran out of memory", hint="more memory, or fewer --workers")
        if not isinstance(error, (*model.rules.refusals, RequestError)):
            LOGGER.error("model failed", extra={"fields": cause_of(error)})
            return BatchFailure(
                f"the model failed: {type(error).__name__}", hint="the log line before this tells where"
            )
        gap = first_gap(checked.data, model.inputs)
        if gap is None:
            return _Refused(None, "the model refuses the values (of another kind, or out of range)", checked)
        return _Refused(gap[0], "the model refuses a value that is missing or not finite", checked)

    def outcome(self) -> Judged:
        """All rows together, in their order."""
        rows_in = max(self.batch.rows, len(self.rejects))
        rejects = tuple(sorted(self.rejects, key=lambda reject: reject.row))
        columns: Mapping[str, Any] = {}
        if len(self.taken) == 1:
            columns = self.taken[0][1]
        elif self.taken:
            places = np.concatenate([places for places, _ in self.taken if places is not None])
            columns = joined([columns for _, columns in self.taken], np.argsort(places))
        return Judged(rows_in=rows_in, rows_out=rows_in - len(rejects), columns=columns, rejects=rejects)


def _gaps(data: Any) -> np.ndarray[Any, Any] | None:
    """Which rows have a missing or infinite number; None where that is not told by their kind."""
    if isinstance(data, TableArray):
        data = data.values
    elif isinstance(data, TableColumns):
        data = data.frame
    if isinstance(data, pd.DataFrame):
        gaps: Any = data.isin([np.inf, -np.inf]).to_numpy() | data.isna().to_numpy()
        return np.asarray(gaps.any(axis=1))
    if isinstance(data, np.ndarray) and data.dtype.kind == "f" and data.ndim:
        return np.asarray((~np.isfinite(data)).reshape(len(data), -1).any(axis=1))
    return None
