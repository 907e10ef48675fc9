"""A typed body as a question: checked against the signature's schema, then read as /invocations reads it.

After the check the values take the very way of MLflow's protocol (`dataframe_split`, `inputs`), so that both
give the same predictions.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import SchemaValidator, ValidationError

from runbake_serving.errors import InvalidRequest
from runbake_serving.model.model import Model, Question
from runbake_serving.model.signature import Column, Columns, Inputs, Param, Scalar
from runbake_serving.protocols.json_forms import question_of_form
from runbake_serving.typed.problems import BodyRefused, fault_at, refusal_by_rules, refusal_of
from runbake_serving.typed.schema import body_schema, may_be_null

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd

_MOST_UNKNOWN = 10


class TypedReader:
    """Reads bodies for one model, which has a signature."""

    def __init__(self, model: Model, inputs: Inputs) -> None:
        schema = body_schema(model.signature)
        if schema is None:
            raise ValueError("the model has no signature")
        self._validator = SchemaValidator(schema)
        self._model = model
        self.in_rows = isinstance(inputs, Columns)
        self._params = {param.name: param for param in model.signature.params or ()}
        self._value: Callable[[Any], tuple[str, Any]] = _tensors
        if isinstance(inputs, Columns):
            self._value = _as_given if model.rules.takes_inputs_as_given else _Table(inputs).form

    def question(self, body: bytes) -> Question:
        """What this body asks.

        Raises:
            InvalidRequest: it is not JSON.
            BodyRefused: it is not what the signature asks for.
        """
        document = self._checked(body)
        form, value = self._value(document)
        params = document.get("params")
        if params:
            params = {name: _param(params[name], self._params[name]) for name in params}
        try:
            return question_of_form(form, value, self._model, params)
        except InvalidRequest as error:
            raise refusal_by_rules(error, in_rows=self.in_rows) from error

    def _checked(self, body: bytes) -> dict[str, Any]:
        try:
            document: dict[str, Any] = self._validator.validate_json(body)
        except ValidationError as error:
            if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
                raise InvalidRequest("the body is not valid JSON") from error
            raise refusal_of(error) from error
        return document


class _Table:
    """Rows as a table of the signature's columns."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns.columns
        self._keys = [str(name) for name in columns.by_name]
        self._named = columns.named
        # Of one name alone, `itemgetter` would give the value itself.
        self._values = itemgetter(*self._keys) if len(self._keys) > 1 else self._one_value
        self._names = list(columns.by_name)
        self._optional = [column for column in self._columns if not column.required] if self._named else []
        self._moments = [
            (place, column) for place, column in enumerate(self._columns) if column.type is Scalar.DATETIME
        ]

    def form(self, document: Mapping[str, Any]) -> tuple[str, Any]:
        """The name of MLflow's form, and its value."""
        rows = document["rows"]
        if not self._named:
            data = [list(row) for row in rows]
            self._read_moments(data)
            return "dataframe_split", {"data": data}
        if not self._optional:
            names = self._names
            data = [list(values) for values in map(self._values, rows)]
        else:
            names = self._present(rows)
            keys = [str(name) for name in names]
            data = [[row.get(key) for key in keys] for row in rows]
        self._read_moments(data, names)
        return "dataframe_split", {"columns": names, "data": data}

    def _one_value(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return (row[self._keys[0]],)

    def _present(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The columns that the table has; one that cannot hold a gap may be left out of all rows."""
        out = set()
        for column in self._optional:
            if may_be_null(column):
                continue
            key = str(column.name)
            without = [number for number, row in enumerate(rows) if key not in row]
            if without and len(without) < len(rows):
                raise BodyRefused([fault_at(("rows", without[0], key), "must be in all rows or in none")])
            if without:
                out.add(column.name)
        return [name for name in self._names if name not in out]

    def _read_moments(self, data: list[list[Any]], names: Sequence[Any] | None = None) -> None:
        for place, column in self._moments:
            where = place if names is None else names.index(column.name)
            for row, moment in zip(data, _moments([row[where] for row in data], column, where), strict=True):
                row[where] = moment


def _as_given(document: Mapping[str, Any]) -> tuple[str, Any]:
    # The signature of a type hint has one column without a name: a row is its value.
    return "inputs", [row[0] for row in document["rows"]]


def _tensors(document: Mapping[str, Any]) -> tuple[str, Any]:
    return "inputs", document["inputs"]


def _moments(values: list[str | None], column: Column, place: int) -> list[str | None]:
    """Times in UTC, all in the one form that pandas then reads without looking at each."""
    try:
        return _in_utc(values)
    except ValueError as error:
        # The form was checked: what is left is a day that its month has not.
        row = next((number for number, value in enumerate(values) if not _is_moment(value)), 0)
        step = place if column.name is None else str(column.name)
        raise BodyRefused([fault_at(("rows", row, step), "is not a day of the calendar")]) from error


def _in_utc(values: list[str | None]) -> list[str | None]:
    moments = pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601", utc=True)
    naive = moments.dt.tz_localize(None).to_numpy("datetime64[ns]")
    return [None if text == "NaT" else str(text) for text in np.datetime_as_string(naive)]


def _is_moment(value: str | None) -> bool:
    try:
        _in_utc([value])
    except ValueError:
        return False
    return True


def _param(value: Any, param: Param) -> Any:
    if param.type not in (Scalar.DATETIME, Scalar.BINARY) or value is None:
        return value
    if param.listed:
        return [_param_item(item, param) for item in value]
    return _param_item(value, param)


def _param_item(value: str, param: Param) -> Any:
    if param.type is Scalar.BINARY:
        return base64.b64decode(value)
    try:
        [moment] = _in_utc([value])
    except ValueError as error:
        raise BodyRefused([fault_at(("params", param.name), "is not a day of the calendar")]) from error
    # A param is a Python datetime in the end, which counts microseconds.
    return np.datetime_as_string(np.datetime64(moment, "us"))
