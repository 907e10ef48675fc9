"""One call of the model: questions that go to it together, and what each of them gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbake_serving.errors import InvalidRequest, ModelFailed, RequestError, ValuesRefused
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.model.model import Checked, Model
from runbake_serving.prediction.blame import first_gap
from runbake_serving.prediction.joining import joined, rows_of, split


@dataclass(slots=True, eq=False)
class Asked:
    """One question on its way through the model."""

    checked: Checked
    rows: int
    size_bytes: int
    key: Hashable | None
    give_up_at: float
    answer: asyncio.Future[Any]
    caller: Mapping[str, Any]

    @property
    def wanted(self) -> bool:
        """Somebody still waits for the answer."""
        if self.caller.get("gone") and not self.answer.done():
            self.answer.set_result(Raised(InvalidRequest("the caller left before the answer")))
        return not self.answer.done()


@dataclass(slots=True, eq=False)
class Call:
    """Questions that go to the model in one call."""

    model: Model
    several: list[Asked]
    seconds: float = 0.0
    one_row_each: bool = True

    @property
    def rows(self) -> int:
        """Rows of all questions."""
        return sum(one.rows for one in self.several)

    def outcomes(self) -> list[Any]:
        """For each question its answer, or what the model raised for it alone."""
        started = time.perf_counter()
        try:
            return self._together() if len(self.several) > 1 else [self._alone(self.several[0])]
        finally:
            self.seconds = time.perf_counter() - started

    def _together(self) -> list[Any]:
        answer = outcome_of(self._joined_answer)
        if not isinstance(answer, Raised):
            parts = split(answer, [one.rows for one in self.several])
            if parts is not None:
                return parts
            self.one_row_each = False
        # One of them may be what the model refuses: each is asked alone, and answers for itself.
        return [self._alone(one) for one in self.several]

    def _joined_answer(self) -> Any:
        data = joined([one.checked.data for one in self.several])
        return self.model.answer(Checked(data, self.several[0].checked.params))

    def _alone(self, one: Asked) -> Any:
        return outcome_of(partial(self.model.answer, one.checked))


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception in the place of an answer."""

    error: BaseException


def outcome_of(work: Callable[[], Any]) -> Any:
    """What `work` returns, or what it raised as `Raised`."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 -- models raise anything at all; `answerable` looks at it
        return Raised(error)


def answerable(
    error: BaseException, model: Model, request_id: str, checked: Checked | None = None
) -> RequestError:
    """What the caller is told of an exception that came out of a prediction; the rest is logged."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, model.rules.refusals):
        LOGGER.warning("values refused", extra={"fields": {"request": request_id, **cause_of(error)}})
        return _refused(model, checked)
    LOGGER.error("model failed", extra={"fields": {"request": request_id, **cause_of(error)}})
    return ModelFailed("the model failed; the log tells the cause under this request id")


def _refused(model: Model, checked: Checked | None) -> ValuesRefused:
    if checked is not None and not rows_of(checked.data):
        return ValuesRefused("the model refuses a table without rows")
    gap = first_gap(checked.data, model.inputs) if checked is not None else None
    if gap is None:
        return ValuesRefused("the model refuses these values (missing, of another kind, or out of range)")
    column, row = gap
    where = f"column {column!r}, row {row}" if column is not None else f"row {row}"
    return ValuesRefused(
        f"the model refuses these values; missing or not finite: {where}", column=column, row=row
    )
