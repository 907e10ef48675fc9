"""What an output's page tells: how its columns are spread, and nothing that a browser would run."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runbake.batch import distributions, page_of, read_output
from runbake.errors import TraceError
from runbake_serving.contract import BATCH_MANIFEST, BATCH_MANIFEST_SCHEMA

HOSTILE = "</style><script>alert(1)</script>\"'{{7*7}}"


def output(root: Path, columns: dict[str, list[Any]], form: str, **more: Any) -> Path:
    """A complete output of two parts with these columns."""
    root.mkdir()
    names = []
    rows = len(next(iter(columns.values())))
    for part, (first, last) in enumerate(((0, rows // 2), (rows // 2, rows))):
        names.append(f"part-{part:05d}.{form}")
        taken = {name: values[first:last] for name, values in columns.items()}
        records = [dict(zip(taken, values, strict=True)) for values in zip(*taken.values(), strict=True)]
        path = root / names[-1]
        if form == "parquet":
            pq.write_table(pa.table(taken), path)
        elif form == "jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        else:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(taken))
                writer.writeheader()
                writer.writerows(records)
    manifest = {
        "schema": BATCH_MANIFEST_SCHEMA, "state": "complete", "rows_in": rows, "rows_out": rows,
        "rejected": 0, "reasons": {}, "columns": dict.fromkeys(columns, "any"), "files": [{"uri": "in.csv"}],
        "started_at": 1, "ended_at": 2, "job": {"output": {"keep": ["id"]}},
        "parts": [{"data": {"name": name}} for name in names],
    }  # fmt: skip
    (root / BATCH_MANIFEST).write_text(json.dumps(manifest | more))
    return root


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_each_column_is_counted(form: str, tmp_path: Path) -> None:
    """Classes one by one in their order, many numbers by ranges, texts by frequency; copied columns not."""
    columns = {
        "id": list(range(102)),
        "class": [position % 3 for position in range(102)],
        "score": [*map(float, range(101)), None],
        "word": ["often"] * 82 + [f"rare {position}" for position in range(20)],
    }
    root = output(tmp_path / "out", columns, form)
    found = {one.column: one for one in distributions(root, read_output(root).document)}

    assert set(found) == {"class", "score", "word"}
    assert found["class"].pairs == (("0", 34), ("1", 34), ("2", 34))
    assert (found["score"].values, found["score"].gaps) == (101, 1)
    assert found["score"].bars[0].label == "0 … 5"
    assert [bar.count for bar in found["score"].bars] == [5] * 19 + [6]
    assert found["word"].pairs[0] == ("often", 82)
    assert found["word"].others == 20 - 11
    assert all(one.values == sum(count for _, count in one.pairs) + one.others for one in found.values())


def test_lists_are_counted_value_by_value(tmp_path: Path) -> None:
    """fastText's labels are a list for each row."""
    root = output(tmp_path / "out", {"labels": [["a", "b"], ["a"], []]}, "parquet")

    (found,) = distributions(root, read_output(root).document)
    assert (found.values, found.pairs) == (3, (("a", 2), ("b", 1)))


def test_numbers_beyond_all_bounds_are_placed(tmp_path: Path) -> None:
    """Their span is no finite number; NaN and infinities are gaps."""
    edge = 1.7e308
    values = [edge / 20 * position for position in range(-20, 21)] + [float("nan"), float("inf")]
    root = output(tmp_path / "out", {"x": values}, "parquet")

    (found,) = distributions(root, read_output(root).document)
    assert (found.values, found.gaps, found.others) == (41, 2, 0)


@pytest.mark.parametrize("name", ["../part-0.csv", "/etc/passwd", "part-0.csv/../x", 7])
def test_a_manifest_names_no_file_outside(name: object, tmp_path: Path) -> None:
    """It may be anybody's."""
    root = output(tmp_path / "out", {"x": [1, 2]}, "csv", parts=[{"data": {"name": name}}])
    with pytest.raises(TraceError, match="as a part's file"):
        distributions(root, read_output(root).document)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Missing, cut off, or of other columns."""
    for form in ("csv", "jsonl", "parquet"):
        root = output(tmp_path / form, {"x": [1, 2, 3, 4]}, form)
        document = read_output(root).document
        path = root / f"part-00001.{form}"
        for damage in (b"\xff\xfe", b"other\n1\n", None):
            path.unlink() if damage is None else path.write_bytes(damage)
            with pytest.raises(TraceError, match=path.name):
                distributions(root, document)


class Tags(HTMLParser):
    """What a browser would see as elements."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append(tag)


def test_hostile_values_stay_text(tmp_path: Path) -> None:
    """In columns' names, values, reasons and the title."""
    more = {"reasons": {HOSTILE: 3}, "rejected": 3, "image_digest": HOSTILE}
    root = output(tmp_path / "out", {HOSTILE: [HOSTILE, "b"]}, "jsonl", **more)
    found = read_output(root)
    page = page_of(found, distributions(root, found.document), title=HOSTILE)

    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.found
    assert tags.found.count("style") == 1
    assert "49" not in page.partition("</style>")[2].replace("&#34;", "").replace("&#39;", "")
    assert "default-src 'none'" in page
