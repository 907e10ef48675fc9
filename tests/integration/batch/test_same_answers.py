"""Batch and server answer alike, row by row, for every model and every format of input."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.batch.conftest import Batch, manifest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tests.integration.serving.conftest import client_of
    from tests.integration.serving.models_to_serve import CASES, Case

# The models' own code and MLflow's warn; what is compared here are answers.
pytestmark = pytest.mark.filterwarnings("ignore")

TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; header=present",
    "jsonl": "application/jsonlines",
}


def bodies_of(rows: Any) -> dict[str, bytes]:
    """The same rows as files of every format that can carry them."""
    if isinstance(rows, np.ndarray):
        text = io.StringIO()
        np.savetxt(text, rows, delimiter=",", fmt="%.17g")
        lines = "".join(json.dumps(row) + "\n" for row in rows.tolist())
        return {"csv": text.getvalue().encode(), "jsonl": lines.encode()}
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), table)
    return {
        "parquet": table.getvalue(),
        "csv": rows.to_csv(index=False).encode(),
        "jsonl": rows.to_json(orient="records", lines=True, date_format="iso").encode(),
    }


def online(path: Path, case: Case, kind: str, body: bytes, *, header: bool) -> list[Any]:
    """What the server answers to this file, one value for each row."""
    media_type = TYPES[kind] if header else TYPES[kind].replace("present", "absent")
    client = client_of(path, trusted_types=case.trusted_types)
    answer = client.post("/invocations", content=body, headers={"content-type": media_type})
    assert answer.status_code == 200, answer.text
    predictions: list[Any] = answer.json()["predictions"]
    return predictions


def offline(output: Path, part: str) -> list[Any]:
    """The rows of one part: single values where there is one column."""
    rows = [json.loads(line) for line in (output / f"{part}.jsonl").read_text().splitlines()]
    return [next(iter(row.values())) if len(row) == 1 else list(row.values()) for row in rows]


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_model_answers_offline_as_online(
    batch_of: Callable[[str], Batch], tmp_path: Path, name: str
) -> None:
    """One job over the same rows in each format gives the server's answers to each of these files."""
    batch, case = batch_of(name), CASES[name]()
    # Online, one gap that the model refuses is the whole request's answer.
    rows = case.rows.dropna() if name == "mixed_table" else case.rows
    headed = not isinstance(rows, np.ndarray)
    bodies = bodies_of(rows)
    for kind, body in bodies.items():
        (tmp_path / f"rows.{kind}").write_bytes(body)
    header = ("--csv-header", "present" if headed else "absent")

    done = batch.run(
        "--input", tmp_path / "rows.*", "--output", tmp_path / "out", "--output-format", "jsonl", *header
    )

    assert done.status == 0, done.stderr
    told = manifest(tmp_path / "out")
    assert told["rows_in"] == told["rows_out"] == len(bodies) * len(rows)
    for part, file in zip(told["parts"], told["files"], strict=True):
        kind = file["uri"].rsplit(".", 1)[1]
        answers = online(batch.model, case, kind, bodies[kind], header=headed)
        if name == "list_of_arrays":  # one array for each output: turned to one row for each row
            answers = [list(row) for row in zip(*answers, strict=True)]
        assert_alike(offline(tmp_path / "out", part["part"]), answers)


def assert_alike(found: Any, wanted: Any) -> None:
    """Same labels, order and shape; floats within 1e-9."""
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_alike(one, other)
    else:
        assert found == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float) else wanted)


def test_columns_are_typed_and_kept(iris: Batch, tmp_path: Path) -> None:
    """Parquet has the prediction in the model's type and kept columns as they came; columns are renamed."""
    frame = CASES["named_columns"]().rows
    table = frame.rename(columns={frame.columns[0]: "length"}).assign(
        id=[f"n{at}" for at in range(len(frame))], at=pd.Timestamp("2026-01-02")
    )
    folder = tmp_path / "day=7"
    folder.mkdir()
    table.to_parquet(folder / "rows.parquet", index=False)

    done = iris.run(
        "--input", tmp_path / "day=*", "--output", tmp_path / "out", "--prediction", "kind",
        "--column", f"{frame.columns[0]}=length", "--keep", "id", "--keep", "at", "--keep", "day",
    )  # fmt: skip

    assert done.status == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out/_MANIFEST.json\n"
    written = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert {field.name: str(field.type) for field in written.schema} == manifest(tmp_path / "out")["columns"]
    assert written.column("id").to_pylist() == table["id"].tolist()
    assert written.column("day").to_pylist() == [7] * len(table)
    assert written.column("kind").type == pa.int64()
