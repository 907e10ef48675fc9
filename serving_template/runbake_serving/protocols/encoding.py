"""Answers as JSON: `{"predictions": …}` in MLflow's shapes, always valid.

MLflow writes NaN and infinities bare, which no JSON parser but Python's reads; here they are null, as are NaT
and NA.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from runbake_serving.errors import ModelFailed, RequestError

if TYPE_CHECKING:
    import pandas as pd
else:
    from runbake_serving.model.pandas_later import pd

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
# orjson writes these itself. It writes float32 shorter (0.1) than MLflow does (0.10000000149011612).
_NATIVE = frozenset(np.dtype(name) for name in ("float64", "int64", "int32", "bool"))


def answer_of(predictions: Any) -> bytes:
    """The body of an answer of /invocations.

    Raises:
        ModelFailed: the model answered something that JSON cannot carry.
    """
    native = isinstance(predictions, np.ndarray) and predictions.dtype in _NATIVE
    option = _OPTIONS | orjson.OPT_SERIALIZE_NUMPY if native else _OPTIONS
    try:
        return orjson.dumps({"predictions": _shaped(predictions)}, default=json_value, option=option)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ModelFailed("the model's answer cannot be written as JSON") from error


def error_of(error: RequestError, request_id: str) -> bytes:
    """The body of an error: a problem of RFC 9457 that has the keys which MLflow's clients read."""
    return problem_of(
        error.status, error.code, str(error), request_id=request_id, column=error.column, row=error.row
    )


def problem_of(status: int, code: str, message: str, **members: Any) -> bytes:
    """The body of an error that is no `RequestError`; members that are None are left out."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "error_code": code,
        "message": message,
        **members,
    }
    return orjson.dumps({key: value for key, value in problem.items() if value is not None})


def _shaped(predictions: Any) -> Any:
    if isinstance(predictions, (np.ndarray, list)):
        return predictions
    if isinstance(predictions, pd.Series):
        predictions = pd.DataFrame(predictions)
    if isinstance(predictions, pd.DataFrame):
        return predictions.to_dict(orient="records")
    return predictions


def json_value(value: Any) -> Any:
    """What orjson asks for when it meets a type that it does not know.

    Raises:
        TypeError: JSON cannot carry it.
    """
    if isinstance(value, np.ndarray):
        return _array(value)
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(np.datetime_as_string(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray)):
        return base64.encodebytes(value).decode("ascii")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime.timedelta):
        return str(pd.Timedelta(value).isoformat())
    if isinstance(value, (pd.Series, pd.DataFrame)):
        return _shaped(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, range)):
        return list(value)
    raise TypeError


def _array(value: np.ndarray[Any, Any]) -> Any:
    if value.dtype.kind == "S":
        return [base64.encodebytes(item).decode("ascii") for item in value.reshape(-1).tolist()]
    return value.tolist()
