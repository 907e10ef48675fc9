"""Reading a batch output: rows keep their numbers when some were rejected, labels are one however written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from runbake.errors import EvaluationError
from runbake.evaluation import read_answers
from runbake.evaluation.answers import labels_of, numbers_of
from tests.unit.test_batch_page import output


def test_rows_keep_their_numbers(tmp_path: Path) -> None:
    """The third row of five was rejected: what follows it is not moved."""
    root = output(tmp_path / "out", {"id": ["x", "y", "w", ""], "score": [1, 2, 4, 5]}, "csv")
    (root / "_rejects").mkdir()
    (root / "_rejects/part-00001.jsonl").write_text(json.dumps({"row": 0}) + "\n")
    parts = [
        {"data": {"name": "part-00000.csv"}, "rows_in": 2, "rejects": None},
        {"data": {"name": "part-00001.csv"}, "rows_in": 3, "rejects": {"name": "_rejects/part-00001.jsonl"}},
    ]
    manifest = json.loads((root / "_MANIFEST.json").read_text())
    manifest |= {"parts": parts, "rows_in": 5, "rejected": 1, "reasons": {"score: gone": 1}, "computing_s": 1}
    manifest["files"][0]["fingerprint"] = "f"
    (root / "_MANIFEST.json").write_text(json.dumps(manifest))

    found = read_answers(root, ("id",))
    assert found.rows.tolist() == [0, 1, 3, 4]
    assert found.predictions == ("score",)
    assert found.columns["id"].to_pylist() == ["x", "y", "w", None]


def test_an_unfinished_output_is_refused(tmp_path: Path) -> None:
    """Half of a test set is none."""
    root = output(tmp_path / "out", {"id": ["x", "y"]}, "csv")
    manifest = json.loads((root / "_MANIFEST.json").read_text()) | {
        "parts": [],
        "rows_in": 2,
        "computing_s": 0,
    }
    (root / "_MANIFEST.json").write_text(json.dumps(manifest))

    with pytest.raises(EvaluationError, match="no row of the test set was answered"):
        read_answers(root, ())


def test_a_label_is_one_however_it_is_written() -> None:
    """1, 1.0 and "1.0" are one class; "1.5" and "01" are others; gaps have none."""
    codes, names = labels_of(pa.chunked_array([["1", "1.0", None, "1.5", "01"]]))
    assert names == ("01", "1", "1.5")
    assert codes.tolist() == [1, 1, -1, 2, 0]
    assert labels_of(pa.chunked_array([[1.0, 2.0]]))[1] == ("1", "2")
    assert numbers_of(pa.chunked_array([["1", "x"]])) is None
