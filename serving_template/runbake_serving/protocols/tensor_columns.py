"""The commonest request of the Open Inference Protocol, read at once: JSON tensors that are columns.

One tensor for each column, all of the model's one dtype, flat and complete. Anything else is given up here
(None, never an error), and read tensor by tensor, to the same end and with words for what is wrong.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from runbake_serving.model.model import Model
from runbake_serving.model.signature import Columns
from runbake_serving.model.tables import TableArray
from runbake_serving.protocols.tensors import PLAIN, datatype_of

_KEYS = {"name", "shape", "datatype", "data"}


def table_of(inputs: Any, model: Model) -> TableArray | None:
    """The table that these items of a request's `inputs` are."""
    signed, wanted = model.inputs, model.rules.array_dtype
    if wanted is None or not model.quick_tables or not isinstance(signed, Columns):
        return None
    names, dtype = list(signed.by_name), np.dtype(wanted)
    columns = _columns(inputs, len(names), datatype_of(dtype))
    if columns is None or columns.keys() != set(names) or len(names) != len(signed.columns):
        return None
    data = [columns[name] for name in names]
    if not PLAIN[dtype.kind].issuperset(map(type, chain.from_iterable(data))):
        return None
    try:
        # Row by row, as the long way has it.
        return TableArray(np.ascontiguousarray(np.array(data, dtype).T))
    except OverflowError:
        return None


def _columns(inputs: Any, count: int, datatype: str) -> dict[str, list[Any]] | None:
    """The data by name, of so many tensors of this datatype and of one length."""
    if not isinstance(inputs, list) or not inputs or len(inputs) != count:
        return None
    columns: dict[str, list[Any]] = {}
    shapes: tuple[list[int], ...] = ()
    for item in inputs:
        if not isinstance(item, dict) or item.keys() != _KEYS or item["datatype"] != datatype:
            return None
        name, data, shape = item["name"], item["data"], item["shape"]
        if not isinstance(name, str) or not isinstance(data, list):
            return None
        if not shapes:
            shapes = ([len(data)], [len(data), 1])
        if shape not in shapes or len(data) != shapes[0][0] or not _is_whole(shape):
            return None
        columns[name] = data
    return columns if shapes[0][0] else None


def _is_whole(shape: list[Any]) -> bool:
    # True and 1.0 are equal to 1.
    return all(type(length) is int for length in shape)
