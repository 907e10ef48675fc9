"""The forms of an answer of /invocations: JSON, JSON Lines, csv and Arrow.

JSON is the default. The others need an answer with a row for each row of the request:

JSON Lines: each element of `predictions` on a line. csv: each on a line, without a header line, since
SageMaker puts the answers to parts of a file together. Arrow: a column for each column of a DataFrame, else
one column `predictions`, of lists where a row has several values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from runbake_serving.errors import NotAcceptable
from runbake_serving.protocols.accept import preferred
from runbake_serving.protocols.arrow_here import HAS_ARROW
from runbake_serving.protocols.encoding import answer_of

ARROW = "application/vnd.apache.arrow.stream"
LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl", "application/x-jsonlines")


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is written, and the content type that says so."""

    media_type: str
    write: Callable[[Any], bytes]


def form_of(accept: str) -> Form:
    """The form that this `Accept` prefers; empty where there is none.

    Raises:
        NotAcceptable: the caller takes none of ours.
    """
    return FORMS[preferred(accept, _OFFERED)]


def lines_of(predictions: Any) -> bytes:
    """JSON Lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in _rows(predictions))


def csv_of(predictions: Any) -> bytes:
    """csv without a header line; what is missing is empty, and lists within a row are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in _rows(predictions):
        cells = row.values() if isinstance(row, dict) else row if isinstance(row, list) else (row,)
        writer.writerow([_cell(cell) for cell in cells])
    return text.getvalue().encode()


def arrow_of(predictions: Any) -> bytes:
    """An Arrow stream of one table."""
    # Imported with the first such answer: most callers never ask for it.
    from runbake_serving.protocols.columnar import stream_of

    _check_rows(predictions)
    return stream_of(predictions)


def _rows(predictions: Any) -> list[Any]:
    _check_rows(predictions)
    rows = orjson.loads(answer_of(predictions))["predictions"]
    if not isinstance(rows, list):
        raise NotAcceptable("this model's answers are not rows: only application/json can carry them")
    return rows


def _check_rows(predictions: Any) -> None:
    # A list of arrays holds one for each output, as scikit-learn's probabilities of several labels do.
    if isinstance(predictions, Mapping) or (
        isinstance(predictions, list) and any(isinstance(item, np.ndarray) for item in predictions)
    ):
        raise NotAcceptable("this model's answers are not rows: only application/json can carry them")


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


FORMS: Mapping[str, Form] = {
    "application/json": Form("application/json", answer_of),
    **{name: Form(name, lines_of) for name in LINES},
    "text/csv": Form("text/csv; charset=utf-8; header=absent", csv_of),
    ARROW: Form(ARROW, arrow_of),
}
_OFFERED = tuple(name for name in FORMS if HAS_ARROW or name != ARROW)
