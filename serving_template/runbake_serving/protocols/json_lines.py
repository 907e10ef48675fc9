"""JSON Lines: a JSON value on each line, and a row in each value.

Objects are rows by name. Arrays are rows in the order of the signature's columns. Anything else is a row of a
model that takes one column, or of an array.

Source: https://jsonlines.org
"""

from __future__ import annotations

from typing import Any

import orjson

from runbake_serving.errors import InvalidRequest
from runbake_serving.model.signature import Columns, Inputs


def form_of_lines(body: bytes, inputs: Inputs | None, *, as_given: bool = False) -> tuple[str, Any]:
    """The form of MLflow's protocol that says the same, and its value.

    A model that checks `inputs` by itself gets each line's value as it is (`as_given`).

    Raises:
        InvalidRequest: a line is not JSON (its row is told), or the lines are of several kinds.
    """
    rows = _rows(body)
    if as_given:
        return "inputs", rows
    kinds = {_kind(row) for row in rows}
    if len(kinds) > 1:
        raise InvalidRequest("the lines must be all objects, all arrays, or all single values")
    if kinds == {"object"}:
        return "dataframe_records", rows
    if not isinstance(inputs, Columns):
        return "inputs", rows
    if kinds == {"value"}:
        rows = [[value] for value in rows]
    return "dataframe_split", {"columns": list(inputs.by_name), "data": rows} if inputs.named else {
        "data": rows
    }


def _rows(body: bytes) -> list[Any]:
    # Only \n and \r\n end a line: a form feed, say, is for the JSON parser to judge.
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    rows: list[Any] = []
    for line in lines:
        if not line.strip(b" \t\r"):
            continue
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"row {len(rows)} is not a line of valid JSON", row=len(rows)) from error
    return rows


def _kind(row: Any) -> str:
    return "object" if isinstance(row, dict) else "array" if isinstance(row, list) else "value"
