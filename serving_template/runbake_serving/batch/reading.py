"""One part of the plan as batches of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from runbake_serving.batch.batches import Batch, Wanted
from runbake_serving.batch.formats import NEED_ARROW
from runbake_serving.batch.plan import InputFile, Part, Plan
from runbake_serving.batch.storage import Inputs
from runbake_serving.batch.tables import table_batches
from runbake_serving.batch.texts import text_batches
from runbake_serving.model.casting import specs_of
from runbake_serving.model.signature import Column, Scalar

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive, Spark and Arrow name the folder of rows without a value."""


def batches_of(
    plan: Plan, part: Part, wanted: Wanted, inputs_of: Callable[[str], Inputs], *, rows: int
) -> Iterator[Batch]:
    """The rows of this part in order, in batches of at most `rows`.

    Raises:
        BatchFailure: its file is gone, changed or damaged.
    """
    file = plan.files[part.file]
    partition = partition_values(plan.files, file, wanted)
    read = table_batches if file.format in NEED_ARROW else text_batches
    with closing(inputs_of(file.uri).open(file.uri, file.fingerprint)) as opened:
        yield from read(opened, file, part, rows, wanted, partition)


def partition_values(files: Sequence[InputFile], file: InputFile, wanted: Wanted) -> Mapping[str, Any]:
    """The values of a file's folders: of the signature's type, else whole numbers where all files' are."""
    kinds = {
        wanted.source_of(name): spec.type
        for name, spec in specs_of(wanted.model.inputs).items()
        if isinstance(spec, Column)
    }
    return {name: _value(name, text, kinds.get(name), files) for name, text in file.partition}


def _value(name: str, text: str, kind: Any, files: Sequence[InputFile]) -> Any:
    if text == _NO_VALUE:
        return None
    if kind is Scalar.STRING:
        return text
    if isinstance(kind, Scalar) and kind.numpy.kind in "iuf":
        try:
            return kind.numpy.type(text)
        except (ValueError, OverflowError):
            return text  # then it is refused row by row, by name
    every = [value for one in files if (value := dict(one.partition).get(name, "")) != _NO_VALUE]
    return np.int64(text) if all(_is_whole(one) for one in every) else text


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19
