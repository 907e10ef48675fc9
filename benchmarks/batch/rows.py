"""The inputs: files of random rows, the same each time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

_GROUP_ROWS = 250_000
_WORDS = np.array(
    ["good", "bad", "fast", "slow", "late", "early", "broken", "whole", "order", "refund", "parcel", "call"]
)
TEXT_LENGTH = 8


def float_table(names: list[str], rows: int) -> pa.Table:
    """Random floats in columns of these names."""
    random = np.random.default_rng(7)
    return pa.table({name: random.normal(size=rows) for name in names})


def parquet_files(directory: Path, table: pa.Table, count: int) -> list[Path]:
    """`count` files with these rows, of which all but the first are names of the first."""
    directory.mkdir()
    files = [directory / f"rows-{position:02d}.parquet" for position in range(count)]
    pq.write_table(table, files[0], row_group_size=_GROUP_ROWS)
    for other in files[1:]:
        os.link(files[0], other)
    return files


def csv_file(path: Path, table: pa.Table) -> Path:
    """The rows as csv with a header."""
    pa_csv.write_csv(table, path)
    return path


def texts(rows: int) -> list[str]:
    """Short texts of common words."""
    chosen: Any = np.random.default_rng(8).choice(_WORDS, size=(rows, TEXT_LENGTH))
    return [" ".join(words) for words in chosen]


def text_file(path: Path, rows: int) -> Path:
    """The texts in a column `text`."""
    pq.write_table(pa.table({"text": texts(rows)}), path, row_group_size=_GROUP_ROWS)
    return path
