"""Params of a prediction: every one of the signature, as given or by default.

The rules are MLflow's own (`mlflow/models/utils.py` of 3.17, `_enforce_params_schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runbake_serving.errors import SchemaMismatch
from runbake_serving.model.enforcement import REFUSALS, value_as
from runbake_serving.model.signature import Object, Param, Scalar

_WIDENINGS = {
    Scalar.LONG: (Scalar.INTEGER,),
    Scalar.FLOAT: (Scalar.INTEGER, Scalar.LONG),
    Scalar.DOUBLE: (Scalar.INTEGER, Scalar.LONG, Scalar.FLOAT),
}
_PYTHON: Mapping[Scalar, type] = {
    Scalar.BOOLEAN: bool,
    Scalar.INTEGER: int,
    Scalar.LONG: int,
    Scalar.FLOAT: float,
    Scalar.DOUBLE: float,
    Scalar.STRING: str,
    Scalar.BINARY: bytes,
}


def enforced_params(params: Any, schema: tuple[Param, ...] | None) -> dict[str, Any]:
    """Every param of the schema, as given or by default; unknown ones are dropped, as MLflow does.

    Raises:
        SchemaMismatch: params are not an object, or a value is not of its type.
    """
    if schema is None:
        return {}
    given = {} if params is None else params
    if not isinstance(given, dict):
        raise SchemaMismatch("params must be an object")
    return {
        param.name: _param(given[param.name], param) if param.name in given else param.default
        for param in schema
    }


def _param(value: Any, param: Param) -> Any:
    try:
        if isinstance(param.type, Object):
            value_as(value, param.type, required=True)
            return value
        if not param.listed:
            return _param_value(value, param.type)
        if not isinstance(value, list) or any(isinstance(item, (list, dict)) for item in value):
            raise SchemaMismatch("expected a flat list")
        return [_param_value(item, param.type) for item in value]
    except (*REFUSALS, SchemaMismatch) as error:
        raise SchemaMismatch(f"param {param.name!r} does not fit its type in the signature") from error


def _param_value(value: Any, scalar: Scalar) -> Any:
    if value is None:
        return None
    if scalar is Scalar.DATETIME:
        moment = np.datetime64(value).item()
        if isinstance(moment, int):
            raise SchemaMismatch("not a time")
        return moment
    if not np.isscalar(value):
        raise SchemaMismatch("not a single value")
    allowed = (_PYTHON[scalar], *(_PYTHON[narrow] for narrow in _WIDENINGS.get(scalar, ())))
    if type(value) not in allowed:
        raise SchemaMismatch("another type")
    return _PYTHON[scalar](value)
