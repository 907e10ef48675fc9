"""MLflow's JSON: one of `dataframe_split`, `dataframe_records`, `instances`, `inputs`, and maybe `params`.

Source: mlflow/pyfunc/scoring_server/__init__.py, mlflow/utils/proto_json_utils.py of MLflow 3.17.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pandas as pd

from runbake_serving.errors import InvalidRequest
from runbake_serving.model.arrays import array_of
from runbake_serving.model.casting import cast_frame, cast_value, first_spec, specs_of
from runbake_serving.model.enforcement import REFUSALS
from runbake_serving.model.model import Model, Question
from runbake_serving.model.signature import Array, Column, Columns, Inputs, Scalar

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_SPARSE_ALLOWANCE = 1_000_000


def question_of_json(body: bytes | str, model: Model) -> Question:
    """What this body asks, not yet checked against the signature.

    Raises:
        InvalidRequest: it is not JSON, or not in one of the forms.
    """
    document = _parsed(body)
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    given = [name for name in FORMATS if name in document]
    if len(given) != 1:
        found = f"{len(given)} were given" if given else "none was given"
        raise InvalidRequest(f"the body must have exactly one of {', '.join(FORMATS)}: {found}")
    return question_of_form(given[0], document[given[0]], model, document.get("params"))


def question_of_form(form: str, value: Any, model: Model, params: Any = None) -> Question:
    """What the value of one of `FORMATS` asks.

    Raises:
        InvalidRequest: it is not of that form.
    """
    if model.rules.takes_inputs_as_given:
        if form != "inputs":
            raise InvalidRequest(f"this model takes `inputs`, as its type hint says, and not {form}")
        return Question(data=value, params=params)
    # Any other body goes the long way through a DataFrame, which finds the right words for what is wrong.
    if (table := model.read_table(form, value)) is not None:
        return Question(data=table, params=params)
    try:
        return Question(data=_READERS[form](value, model.inputs), params=params)
    except REFUSALS as error:
        raise InvalidRequest(f"{form} cannot be read: rows or columns do not fit together") from error


def _parsed(body: bytes | str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parsed_leniently(body)


def _parsed_leniently(body: bytes | str) -> Any:
    # A byte order mark, and what JSON has not though MLflow's parser takes it: NaN, infinities, UTF-16.
    try:
        text = body if isinstance(body, str) else body.decode(json.detect_encoding(body))
        text = text.removeprefix("\ufeff")
        return json.loads(text) if "NaN" in text or "Infinity" in text else orjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not valid JSON") from error


def _frame_of_split(value: Any, inputs: Inputs | None) -> Any:
    if not isinstance(value, dict) or "data" not in value or value.keys() - {"data", "columns", "index"}:
        raise InvalidRequest("dataframe_split must be an object with 'data' and maybe 'columns' and 'index'")
    columns, index = value.get("columns"), value.get("index")
    _check_distinct(columns)
    data, n_rows = _split_data(value["data"], columns, inputs)
    if index is not None and not (isinstance(index, list) and len(index) == n_rows):
        raise InvalidRequest("dataframe_split: 'index' must be a list with one label for each row")
    return cast_frame(pd.DataFrame(data=data, columns=columns, index=index), inputs)


def _split_data(data: Any, columns: Any, inputs: Inputs | None) -> tuple[Any, int]:
    """The data of a DataFrame, and how many rows they have: rows, or an object of columns."""
    if isinstance(data, dict):
        lists = {name: _values(values) for name, values in data.items()}
        if len({len(values) for values in lists.values()}) > 1:
            raise InvalidRequest("dataframe_split: the columns in 'data' have different lengths")
        n_rows = len(next(iter(lists.values()), ()))
        _check_sparse(len(set(columns or ()) - data.keys()), n_rows, len(data) * n_rows)
        return lists, n_rows
    if not isinstance(data, list):
        raise InvalidRequest("dataframe_split: 'data' must be a list of rows, or an object of columns")
    _check_rows(data)
    if columns is not None and any(isinstance(row, dict) for row in data):
        known = set(columns)
        _check_sparse(len(known), len(data), sum(map(len, data)))
        return [{name: item for name, item in row.items() if name in known} for row in data], len(data)
    return _bounded_records(data, inputs), len(data)


def _values(column: Any) -> Any:
    if not isinstance(column, list):
        raise InvalidRequest("dataframe_split: an object in 'data' must have a list for each column")
    return column


def _check_rows(rows: list[Any]) -> None:
    # pandas fills short rows up with gaps, or makes a column of lists, by what it meets first.
    kinds = {type(row) if isinstance(row, (list, dict)) else None for row in rows}
    if len(kinds) > 1:
        raise InvalidRequest("the rows must be all lists or all objects")
    if kinds == {list} and len({len(row) for row in rows}) > 1:
        usual = len(rows[0])
        odd = next(at for at, row in enumerate(rows) if len(row) != usual)
        raise InvalidRequest(
            f"row {odd} has {len(rows[odd])} values, the rows before it {usual}: all need as many", row=odd
        )


def _check_distinct(columns: Any) -> None:
    if columns is None:
        return
    if not isinstance(columns, list) or not all(isinstance(name, (str, int, float)) for name in columns):
        raise InvalidRequest("dataframe_split: 'columns' must be a list of names")
    if len(set(columns)) != len(columns):
        raise InvalidRequest("dataframe_split: two columns have one name")


def _frame_of_records(value: Any, inputs: Inputs | None) -> Any:
    if not isinstance(value, list):
        raise InvalidRequest("dataframe_records must be a list of objects")
    _check_rows(value)
    return cast_frame(pd.DataFrame(data=_bounded_records(value, inputs)), inputs)


def _bounded_records(rows: list[Any], inputs: Inputs | None) -> list[Any]:
    if not rows or not all(isinstance(row, dict) for row in rows):
        return rows
    if names := specs_of(inputs):
        return [{name: row[name] for name in names if name in row} for row in rows]
    _check_sparse(len(set().union(*rows)), len(rows), sum(map(len, rows)))
    return rows


def _check_sparse(n_columns: int, n_rows: int, given: int) -> None:
    # A table has a cell for each row and name: a million rows with a name each would fill the memory.
    if n_columns * n_rows > 4 * given + _SPARSE_ALLOWANCE:
        raise InvalidRequest("the rows have too few names in common")


def _data_of_inputs(value: Any, inputs: Inputs | None) -> Any:
    specs = specs_of(inputs)
    if len(specs) == 1 and isinstance(value, list) and not any(isinstance(item, dict) for item in value):
        value = {next(iter(specs)): value}
    if isinstance(value, dict):
        if inputs is not None and not specs:
            raise InvalidRequest("the model takes one array, not named ones")
        return {name: cast_value(item, spec) for name, item, spec in _known(value, specs)}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [{name: cast_value(item, spec) for name, item, spec in _known(row, specs)} for row in value]
    return cast_value(value, first_spec(inputs))


def _known(value: dict[str, Any], specs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    # What the signature does not name is dropped later in any case; here it cannot fail to be cast.
    return [(name, item, specs.get(name)) for name, item in value.items() if not specs or name in specs]


def _data_of_instances(value: Any, inputs: Inputs | None) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        data: Any = _turned(value, inputs)
    else:
        data = _data_of_inputs(value, inputs)
    if isinstance(data, dict):
        _check_lengths(data, inputs)
    return data


def _turned(rows: list[Any], inputs: Inputs | None) -> dict[str, Any]:
    """Rows of named values as named columns."""
    specs, columns = specs_of(inputs), dict[str, list[Any]]()
    for row in rows:
        if not isinstance(row, dict):
            raise InvalidRequest("instances must be all objects or all arrays")
        for name, value, spec in _known(row, specs):
            # Scalars are cast as a whole column below, to the same end and many times faster.
            columns.setdefault(name, []).append(value if _is_plain(value, spec) else cast_value(value, spec))
    return {name: _joined(values, specs.get(name)) for name, values in columns.items()}


def _is_plain(value: Any, spec: Any) -> bool:
    return isinstance(spec, Column) and isinstance(spec.type, Scalar) and not isinstance(value, (list, dict))


def _joined(values: list[Any], spec: Any) -> Any:
    if isinstance(spec, Column) and isinstance(spec.type, Scalar):
        return cast_value(values, spec)
    return array_of(values)


def _check_lengths(data: dict[str, Any], inputs: Inputs | None) -> None:
    lengths = {name: len(value) for name, value in data.items() if _has_length(value)}
    if isinstance(inputs, Columns) and inputs.named:
        checked = inputs.by_name
        lengths = {
            name: length
            for name, length in lengths.items()
            if name in checked and checked[name].required and not isinstance(checked[name].type, Array)
        }
    if len(set(lengths.values())) > 1:
        raise InvalidRequest("instances: the inputs have different numbers of rows")


def _has_length(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)


_READERS: Mapping[str, Callable[[Any, Inputs | None], Any]] = {
    "dataframe_split": _frame_of_split,
    "dataframe_records": _frame_of_records,
    "inputs": _data_of_inputs,
    "instances": _data_of_instances,
}
