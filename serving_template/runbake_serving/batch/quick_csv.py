"""csv of numbers by Arrow's parser, where it can only read what pandas reads; pandas has the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from runbake_serving.model.signature import Columns
from runbake_serving.protocols.arrow_here import HAS_ARROW

if TYPE_CHECKING:
    from runbake_serving.batch.batches import Wanted

_BLOCK_BYTES: Final = 1 << 20
"""What is parsed at once stays near the processor: three times as fast. A longer line is left to pandas."""
_MISSING: Final = (
    "",
    "NA",
    "N/A",
    "n/a",
    "NULL",
    "null",
    "NaN",
    "nan",
    "-NaN",
    "-nan",
    "None",
    "#N/A",
    "<NA>",
)
"""Texts that pandas reads as missing. A text that is not among them, and no number, is left to pandas."""


def table_of_numbers(
    data: bytes, header: tuple[str, ...], wanted: Wanted, partition: Mapping[str, Any]
) -> Any | None:
    """The model's columns in these lines as an Arrow table; None where only the long way can judge."""
    model, dtype = wanted.model, wanted.model.rules.array_dtype
    if not HAS_ARROW or dtype is None or not model.quick_tables or not isinstance(model.inputs, Columns):
        return None
    names = {wanted.source_of(name): name for name in wanted.names}
    columns = header or wanted.names
    plain = wanted.csv.encoding.replace("-", "").replace("_", "") in ("utf8", "ascii")
    # A quoted number is a number to both, but a quote may also hold a line end.
    if not plain or b'"' in data or len(set(columns)) != len(columns) or not names.keys() <= set(columns):
        return None
    if partition.keys() & names.keys() or not _is_text(data):
        return None
    return _read(data, columns, names, np.dtype(dtype), wanted.csv.delimiter)


def _is_text(data: bytes) -> bool:
    """Whether it is UTF-8, as pandas asks also of columns that nobody reads."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read(
    data: bytes, columns: tuple[str, ...], names: Mapping[str, str], dtype: np.dtype[Any], delimiter: str
) -> Any | None:
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=list(columns)),
            csv.ParseOptions(delimiter=delimiter, quote_char=False),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.from_numpy_dtype(dtype)),
                include_columns=list(names),
                null_values=list(_MISSING),
                check_utf8=False,
            ),
        )
    except (pa.ArrowException, ValueError):
        return None
    return table.rename_columns([names[name] for name in table.column_names])
