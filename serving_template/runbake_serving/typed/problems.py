"""What is wrong with a typed body: each fault with its place, and never with the value.

Source: RFC 9457, section 3 (the extension member `errors`); RFC 6901 (JSON Pointer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails, ValidationError

from runbake_serving.errors import RequestError, SchemaMismatch
from runbake_serving.typed.schema import NAMES

MOST_FAULTS = 20
"""An answer lists so many faults; more are counted."""
_STEP_LIMIT = 100
_OWN = frozenset({"moment", "base64", "ascii"})
_DETAILS: Mapping[str, str] = {
    "float_type": "must be a number",
    "finite_number": "must be a number within the range of its type",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number within the range of its type",
    "greater_than_equal": "must be within the range of its type",
    "less_than_equal": "must be within the range of its type",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong. `pointer` is a JSON Pointer into the body; `row` counts from 0."""

    pointer: str
    detail: str
    row: int | None = None
    column: str | None = None

    def members(self) -> dict[str, Any]:
        """The fault as a member of `errors`."""
        told = {"pointer": self.pointer, "row": self.row, "column": self.column, "detail": self.detail}
        return {name: value for name, value in told.items() if value is not None}

    def __str__(self) -> str:
        where = f"column {self.column!r}" if self.column is not None else self.pointer or "the body"
        return f"{where} {self.detail}" + (f" (row {self.row})" if self.row is not None else "")


class BodyRefused(SchemaMismatch):
    """The body is JSON, and not what the model's signature asks for."""

    status = 422

    def __init__(self, faults: Sequence[Fault], *, more: int = 0) -> None:
        first = faults[0]
        others = len(faults) - 1 + more
        message = f"{first}" + (f", and {others} more faults" if others else "")
        super().__init__(message, column=first.column, row=first.row)
        self.faults = tuple(faults)

    def errors(self) -> list[dict[str, Any]]:
        """The member `errors` of the answer."""
        return [fault.members() for fault in self.faults]


def refusal_by_rules(error: RequestError, *, in_rows: bool) -> BodyRefused:
    """What to answer where MLflow's rules refuse what the schema let through."""
    place: tuple[int | str, ...] = ()
    if in_rows and error.row is not None and error.column is not None:
        place = ("rows", error.row, error.column)
    fault = fault_at(place, f"does not fit the signature: {error}")
    return BodyRefused([fault])


def refusal_of(error: ValidationError) -> BodyRefused:
    """What to answer to this error of the schema."""
    faults = [fault for one in error.errors(include_url=False, include_input=False) for fault in _faults(one)]
    return BodyRefused(faults[:MOST_FAULTS], more=max(0, len(faults) - MOST_FAULTS))


def fault_at(place: Sequence[int | str], detail: str) -> Fault:
    """A fault at this place of the body."""
    in_row = len(place) > 1 and place[0] == "rows" and isinstance(place[1], int)
    named = isinstance(place[2], str) if in_row and len(place) > 2 else False
    return Fault(
        pointer="".join(f"/{_step(step)}" for step in place),
        detail=detail,
        row=int(place[1]) if in_row else None,
        column=str(place[2])[:_STEP_LIMIT] if named else None,
    )


def _faults(error: ErrorDetails) -> Iterator[Fault]:
    place = error["loc"]
    if error["type"] == NAMES:
        yield from (fault_at((*place, name), "is not known") for name in error["ctx"]["unknown"])
        yield from (fault_at((*place, name), "is missing") for name in error["ctx"]["missing"])
    else:
        yield fault_at(place, _detail(error))


def _detail(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind in _OWN:
        return error["msg"]
    if kind in ("too_short", "too_long"):
        word, key = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        return f"must have {word} {error['ctx'][key]} items"
    return _DETAILS.get(kind, "does not fit its type")


def _step(step: int | str) -> str:
    return str(step)[:_STEP_LIMIT].replace("~", "~0").replace("/", "~1")
