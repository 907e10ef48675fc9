"""What the Open Inference Protocol tells of a model, and its predictions as tensors.

An array is one tensor: under the signature's name for the only output, else `predictions`. A DataFrame is one
tensor of shape [n, 1] for each column, a list of arrays `predictions-0`, `predictions-1` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from runbake_serving.errors import InvalidRequest
from runbake_serving.model.signature import Array, Columns, Inputs, Scalar
from runbake_serving.protocols.open_inference import Wanted
from runbake_serving.protocols.tensors import BYTES, bytes_of_array, datatype_of, json_of_array, typed

PREDICTIONS = "predictions"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The model in service, as this protocol names it; `version` None where it is not registered."""

    name: str
    version: str | None
    platform: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer; `json_length` None where it is JSON alone."""

    body: bytes
    json_length: int | None


def metadata_of(card: Card, inputs: Inputs | None, outputs: Inputs | None) -> dict[str, Any]:
    """The model's metadata; tensors are told where the signature tells them."""
    return {
        "name": card.name,
        "versions": [card.version] if card.version is not None else [],
        "platform": card.platform,
        "inputs": _tensors(inputs, "input"),
        "outputs": _tensors(outputs, PREDICTIONS),
    }


def _tensors(signed: Inputs | None, only: str) -> list[dict[str, Any]]:
    if signed is None:
        return []
    if not isinstance(signed, Columns):
        return [
            {"name": one.name or only, "datatype": datatype_of(one.dtype), "shape": list(one.shape)}
            for one in signed.tensors
        ]
    if not signed.named and len(signed.columns) == 1 and only == PREDICTIONS:
        return [{"name": only, "datatype": _datatype(signed.columns[0].type), "shape": [-1]}]
    return [
        {
            "name": column.name if column.name is not None else f"{only}-{position}",
            "datatype": _datatype(column.type),
            "shape": _shape(column.type),
        }
        for position, column in enumerate(signed.columns)
    ]


def _datatype(kind: Any) -> str:
    while isinstance(kind, Array):
        kind = kind.items
    if not isinstance(kind, Scalar) or kind is Scalar.DATETIME:
        return BYTES
    return datatype_of(kind.numpy)


def _shape(kind: Any) -> list[int]:
    if not isinstance(kind, Array):
        return [-1, 1]
    shape = [-1]
    while isinstance(kind, Array):
        kind = kind.items
        shape.append(-1)
    return shape


def answer_of(predictions: Any, wanted: Wanted, card: Card, outputs: Inputs | None) -> Answer:
    """The answer with the outputs that the caller wants.

    Raises:
        InvalidRequest: an output that the model does not have.
        ModelFailed, NotAcceptable: the predictions cannot be written like this.
    """
    named = _named(predictions, outputs)
    if wanted.outputs is not None and wanted.outputs.keys() - named.keys():
        raise InvalidRequest(f"the model's outputs are {', '.join(map(repr, list(named)[:20]))}")
    binary, parts = wanted.outputs or dict.fromkeys(named, wanted.binary), list[bytes]()
    head: dict[str, Any] = {"model_name": card.name}
    if card.version is not None:
        head["model_version"] = card.version
    if wanted.id is not None:
        head["id"] = wanted.id
    head["outputs"] = [
        _output(name, named[name], parts if in_bytes else None) for name, in_bytes in binary.items()
    ]
    text = orjson.dumps(head, option=_OPTIONS)
    if not any(binary.values()):
        return Answer(text, None)
    return Answer(b"".join((text, *parts)), len(text))


def _output(name: str, values: Any, parts: list[bytes] | None) -> dict[str, Any]:
    array = typed(values)
    output = {"name": name, "datatype": datatype_of(array.dtype), "shape": list(array.shape)}
    if parts is None:
        return {**output, "data": json_of_array(array)}
    data = bytes_of_array(array)
    parts.append(data)
    return {**output, "parameters": {"binary_data_size": len(data)}}


def _named(predictions: Any, outputs: Inputs | None) -> dict[str, Any]:
    only = _only_name(outputs)
    if isinstance(predictions, np.ndarray):
        if only is not None and isinstance(outputs, Columns) and predictions.ndim == 1:
            predictions = predictions.reshape(-1, 1)
        return {only or PREDICTIONS: np.atleast_1d(predictions)}
    if isinstance(predictions, Mapping):
        return {str(name): np.atleast_1d(typed(values)) for name, values in predictions.items()}
    if isinstance(predictions, (list, tuple)):
        if predictions and all(isinstance(values, np.ndarray) for values in predictions):
            return {f"{PREDICTIONS}-{at}": values for at, values in enumerate(predictions)}
        return {only or PREDICTIONS: np.atleast_1d(typed(list(predictions)))}
    return _named_of_pandas(predictions, only or PREDICTIONS)


def _named_of_pandas(predictions: Any, only: str) -> dict[str, Any]:
    import pandas as pd

    if isinstance(predictions, pd.Series):
        name = str(predictions.name) if predictions.name is not None else only
        return {name: predictions.to_numpy()}
    if isinstance(predictions, pd.DataFrame):
        return {str(name): values.to_numpy().reshape(-1, 1) for name, values in predictions.items()}
    return {only: np.atleast_1d(typed([predictions]))}


def _only_name(outputs: Inputs | None) -> str | None:
    if outputs is None or not outputs.named:
        return None
    names = list(outputs.by_name)
    return names[0] if len(names) == 1 else None
