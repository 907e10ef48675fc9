"""Rows that were rejected: which, in what field, why; never their values."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One rejected row.

    Attributes:
        row: within the part, from 0, rejected rows counted too.
        file_row: within the file: rows from 0; of csv and jsonl the line, from 1.
        field: a column of the model; None where it is the whole row.
    """

    row: int
    file_row: int
    field: str | None
    reason: str

    @property
    def kind(self) -> str:
        """What such rejects are counted under."""
        return f"{self.field}: {self.reason}" if self.field else self.reason


def line_of(reject: Reject, *, part: str, file: str) -> bytes:
    """The reject's line of `_rejects/<part>.jsonl`."""
    document = {
        "part": part,
        "row": reject.row,
        "file": file,
        "file_row": reject.file_row,
        "field": reject.field,
        "reason": reject.reason,
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
