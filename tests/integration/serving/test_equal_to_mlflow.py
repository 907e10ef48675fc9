"""Our answers are MLflow's own, for every model, in every form of the protocol."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from tests.integration.serving.conftest import Served
from tests.integration.serving.models_to_serve import CASES

# MLflow answers in this process too, and warns of much.
pytestmark = pytest.mark.filterwarnings("ignore")

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
JSONL = {"content-type": "application/jsonlines"}


def records_of(rows: Any) -> Any:
    """Rows as JSON has them: objects for a table, lists for an array; gaps are null."""
    if isinstance(rows, np.ndarray):
        return rows.tolist()
    return json.loads(rows.to_json(orient="records", date_format="iso", double_precision=15))


def bodies_of(rows: Any) -> dict[str, str]:
    """The four JSON forms of the same rows."""
    records = records_of(rows)
    if isinstance(rows, np.ndarray):
        split: Any = {"data": records}
        columns: Any = records
    else:
        split = {"columns": list(rows.columns), "data": [list(record.values()) for record in records]}
        columns = {name: [record[name] for record in records] for name in rows.columns}
    forms = {
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": records,
        "inputs": columns,
    }
    return {name: json.dumps({name: value}) for name, value in forms.items()}


def assert_same(ours: Any, theirs: Any) -> None:
    """Same shape, same labels; floats within 1e-9."""
    if isinstance(theirs, list):
        assert isinstance(ours, list)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, float) and isinstance(ours, float):
        assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


def compare(served: Served, body: str | bytes, headers: dict[str, str] = JSON) -> int:
    """Both servers agree on this body: the same predictions, or both refuse it; the status."""
    theirs = served.mlflows.post("/invocations", content=body, headers=headers)
    for client in (served.ours, served.always_dataframe):
        ours = client.post("/invocations", content=body, headers=headers)
        assert (ours.status_code == 200) == (theirs.status_code == 200), (ours.text, theirs.text[:500])
        if theirs.status_code == 200:
            assert_same(ours.json(), theirs.json())
        else:
            assert 400 <= ours.status_code < 500, ours.text
            assert ours.json().keys() >= {"error_code", "message", "request_id"}
    return int(theirs.status_code)


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "instances", "inputs"])
@pytest.mark.parametrize("name", CASES)
def test_json_forms(served: Callable[[str], Served], name: str, form: str) -> None:
    """Each JSON form of a model's rows gets MLflow's answer."""
    one = served(name)
    compare(one, bodies_of(one.case.rows)[form])


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("tensor", "times_and_flags")])
def test_csv(served: Callable[[str], Served], name: str) -> None:
    """The rows as csv get MLflow's answer."""
    one = served(name)
    rows = one.case.rows
    compare(one, pd.DataFrame(rows).to_csv(index=False), CSV)


PARQUET = {"content-type": "application/vnd.apache.parquet"}


def parquet(frame: pd.DataFrame) -> bytes:
    """The frame as pandas writes it."""
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def arrow(frame: pd.DataFrame) -> bytes:
    """The frame as an Arrow stream, as pyarrow writes it."""
    table, sink = pa.Table.from_pandas(frame), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def frame_of(rows: Any) -> pd.DataFrame:
    """The rows as a table; Parquet has no columns without names."""
    frame = pd.DataFrame(rows)
    return frame.set_axis([str(name) for name in frame.columns], axis="columns")


@pytest.mark.parametrize("name", CASES)
def test_parquet_and_arrow(served: Callable[[str], Served], name: str) -> None:
    """The rows as Parquet get MLflow's answer; as an Arrow stream, which MLflow does not read, the same."""
    one, frame = served(name), frame_of(served(name).case.rows)
    labelled = frame.set_axis([f"row {number}" for number in range(len(frame))])
    for rows in (frame, labelled, frame.iloc[:1], frame.iloc[:0], frame[frame.columns[::-1]]):
        status = compare(one, parquet(rows), PARQUET)
        ours = one.ours.post("/invocations", content=arrow(rows), headers=ARROW)
        assert (ours.status_code == 200) == (status == 200), ours.text
        if status == 200:
            theirs = one.mlflows.post("/invocations", content=parquet(rows), headers=PARQUET)
            assert_same(ours.json(), theirs.json())


@pytest.mark.parametrize("name", ["named_columns", "mixed_numbers", "mixed_table", "long_columns", "tensor"])
def test_parquet_of_other_types(served: Callable[[str], Served], name: str) -> None:
    """Columns of another type, missing ones and more are answered or refused as MLflow does."""
    one, frame = served(name), frame_of(served(name).case.rows)
    others = [frame.assign(other="x"), frame.drop(columns=frame.columns[0])]
    for column in frame.columns[:3]:
        others += [
            frame.assign(**{column: values})
            for values in (
                frame[column].astype(str),
                np.arange(len(frame), dtype="int32"),
                np.arange(len(frame), dtype="int64"),
                np.arange(len(frame), dtype="uint8"),
                np.linspace(0, 1, len(frame), dtype="float32"),
                np.linspace(0, 1, len(frame)),
                [True] * len(frame),
                pd.date_range("2026-01-01", periods=len(frame)),
                [None] * len(frame),
                [[1.0, 2.0]] * len(frame),
            )
        ]
    for rows in others:
        compare(one, parquet(rows), PARQUET)


def test_nullable_types_of_pandas(served: Callable[[str], Served]) -> None:
    """pandas' nullable numbers are numbers: MLflow refuses them for a model that takes an array."""
    one, frame = served("tensor"), frame_of(served("tensor").case.rows)
    nullable = parquet(frame.astype("Float64"))
    assert one.mlflows.post("/invocations", content=nullable, headers=PARQUET).status_code == 400
    plain = one.mlflows.post("/invocations", content=parquet(frame), headers=PARQUET)
    assert_same(one.ours.post("/invocations", content=nullable, headers=PARQUET).json(), plain.json())


@pytest.mark.parametrize(
    "data",
    [
        {"columns": None, "data": "columns"},
        {"columns": "names", "data": "columns"},
        {"columns": "names", "data": "records"},
        {"columns": None, "data": "records"},
        {"columns": "reversed", "data": "columns"},
    ],
    ids=lambda data: f"{data['columns']}-{data['data']}",
)
@pytest.mark.parametrize("name", ["named_columns", "mixed_table", "texts", "long_columns"])
def test_split_with_data_as_objects(served: Callable[[str], Served], name: str, data: Any) -> None:
    """`dataframe_split` takes an object of columns and a list of objects where MLflow does."""
    one = served(name)
    records = records_of(one.case.rows)
    names = list(records[0])
    columns = {"names": names, "reversed": names[::-1]}.get(data["columns"])
    values = records if data["data"] == "records" else {key: [row[key] for row in records] for key in names}
    split = {"data": values} if columns is None else {"columns": columns, "data": values}
    # A gap in a column of texts is refused by MLflow where the signature was inferred without gaps.
    assert compare(one, json.dumps({"dataframe_split": split})) == (400 if name == "mixed_table" else 200)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["named_columns", "texts"])
def test_json_in_other_encodings(served: Callable[[str], Served], name: str, encoding: str) -> None:
    """JSON with a byte order mark, or in another Unicode encoding, is read as MLflow reads it."""
    one = served(name)
    assert compare(one, bodies_of(one.case.rows)["dataframe_split"].encode(encoding)) == 200


def lines(rows: Any) -> str:
    """The rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in records_of(rows))


@pytest.mark.parametrize("name", CASES)
def test_json_lines(served: Callable[[str], Served], name: str) -> None:
    """A line for each row gets the answer that MLflow gives to the same rows in JSON."""
    one = served(name)
    form = "inputs" if isinstance(one.case.rows, np.ndarray) else "dataframe_records"
    theirs = one.mlflows.post("/invocations", content=bodies_of(one.case.rows)[form], headers=JSON)
    for client in (one.ours, one.always_dataframe):
        ours = client.post("/invocations", content=lines(one.case.rows), headers=JSONL)
        assert (ours.status_code == 200) == (theirs.status_code == 200), (ours.text, theirs.text[:300])
        if theirs.status_code == 200:
            assert_same(ours.json(), theirs.json())


@pytest.mark.parametrize("name", CASES)
def test_every_model_answers(served: Callable[[str], Served], name: str) -> None:
    """No model is equal to MLflow merely by refusing everything."""
    one = served(name)
    statuses = {form: compare(one, body) for form, body in bodies_of(one.case.rows).items()}
    assert 200 in statuses.values(), statuses


SPLIT = {"columns": ["a", "b"], "data": [[1.0, 2.0]]}

IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
ROW = [5.1, 3.5, 1.4, 0.2]


def one_row(first: str) -> str:
    """A row whose first value is this text, as it stands."""
    return f'{{"dataframe_split": {{"columns": {json.dumps(IRIS)}, "data": [[{first}, 3, 1, 0]]}}}}'


ODD_BODIES = {
    "empty": "",
    "not json": "{",
    "list": "[1, 2]",
    "number": "7",
    "no form": "{}",
    "two forms": json.dumps({"inputs": [[1.0]], "instances": [[1.0]]}),
    "unknown form": json.dumps({"rows": [[1.0]]}),
    "missing columns": json.dumps({"dataframe_split": SPLIT}),
    "extra column": json.dumps({"dataframe_split": {"columns": [*IRIS, "x"], "data": [[*ROW, "y"]]}}),
    "other order": json.dumps({"dataframe_split": {"columns": IRIS[::-1], "data": [ROW[::-1]]}}),
    "ragged": json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW, ROW[:3]]}}),
    "no data": json.dumps({"dataframe_split": {"columns": IRIS}}),
    "extra key": json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW], "types": []}}),
    "split is a list": json.dumps({"dataframe_split": [ROW]}),
    "records is an object": json.dumps({"dataframe_records": {"a": 1}}),
    "text as number": json.dumps({"dataframe_split": {"columns": IRIS, "data": [["5.1", 3.5, 1.4, 0.2]]}}),
    "text in number": json.dumps({"dataframe_split": {"columns": IRIS, "data": [["x", 3.5, 1.4, 0.2]]}}),
    "null in number": json.dumps({"dataframe_split": {"columns": IRIS, "data": [[None, 3.5, 1.4, 0.2]]}}),
    "true in number": json.dumps({"dataframe_split": {"columns": IRIS, "data": [[True, 3.5, 1.4, 0.2]]}}),
    "object in number": json.dumps({"dataframe_split": {"columns": IRIS, "data": [[{}, 3.5, 1.4, 0.2]]}}),
    "NaN": one_row("NaN"),
    "Infinity": one_row("Infinity"),
    "huge number": one_row("1e999"),
    "huge integer": one_row("9" * 30),
    "digits without end": one_row("9" * 5000),
    "many digits beside a gap": '{"inputs": [[NaN, ' + "9" * 4000 + "]]}",
    "deep nesting": one_row("[" * 5000 + "]" * 5000),
    "no rows": json.dumps({"dataframe_split": {"columns": IRIS, "data": []}}),
    "index": json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW], "index": ["r7"]}}),
    "records with gaps": json.dumps(
        {"dataframe_records": [dict(zip(IRIS, ROW, strict=True)), {IRIS[0]: 1.0}]}
    ),
    "empty records": json.dumps({"dataframe_records": []}),
    "instances of scalars": json.dumps({"instances": ROW}),
    "instances of objects with gaps": json.dumps(
        {"instances": [dict(zip(IRIS, ROW, strict=True)), {"x": 1}]}
    ),
    "instances without names": json.dumps({"instances": [ROW]}),
    "inputs without names": json.dumps({"inputs": [ROW]}),
    "inputs of scalars": json.dumps({"inputs": dict(zip(IRIS, ROW, strict=True))}),
    "inputs of records": json.dumps({"inputs": [dict(zip(IRIS, ROW, strict=True))]}),
    "inputs of other lengths": json.dumps({"inputs": {name: [1.0] * n for n, name in enumerate(IRIS, 1)}}),
    "inputs is text": json.dumps({"inputs": "x"}),
    "inputs is null": json.dumps({"inputs": None}),
    "params unknown": json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW]}, "params": {"z": 1}}),
    "params a list": json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW]}, "params": [1]}),
    "params of type": json.dumps(
        {
            "dataframe_split": {"columns": IRIS, "data": [ROW]},
            "params": {"level": "x", "picks": [1]},
        }
    ),
    "params fit": json.dumps(
        {
            "dataframe_split": {"columns": IRIS, "data": [ROW]},
            "params": {"level": 1, "picks": [3]},
        }
    ),
    "params not listed": json.dumps(
        {
            "dataframe_split": {"columns": IRIS, "data": [ROW]},
            "params": {"picks": 3},
        }
    ),
    "extra top-level key": json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW]}, "more": 1}),
}


@pytest.mark.parametrize("name", ["named_columns", "with_params", "tensor", "unsigned", "long_columns"])
@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES.keys())
def test_odd_bodies(served: Callable[[str], Served], name: str, body: str) -> None:
    """Where MLflow answers an odd body we answer the same; where it refuses we refuse with 4xx."""
    compare(served(name), body)


@pytest.mark.parametrize("value", [None, 7, 1.5, True, ["a"], {"a": 1}], ids=str)
@pytest.mark.parametrize("name", ["texts", "lowered_texts"])
def test_what_is_not_text(served: Callable[[str], Served], name: str, value: Any) -> None:
    """A value that is not text in a column of text gets MLflow's answer, or is the caller's fault."""
    for rows in ([["good"], [value]], [[value]]):
        compare(served(name), json.dumps({"dataframe_split": {"columns": ["text"], "data": rows}}))
        records = [{"text": text} for (text,) in rows]
        compare(served(name), json.dumps({"dataframe_records": records}))
        compare(served(name), json.dumps({"instances": records}))
        compare(served(name), json.dumps({"inputs": {"text": [text for (text,) in rows]}}))


def test_missing_value_in_a_whole_number_is_refused(served: Callable[[str], Served]) -> None:
    """A column of whole numbers cannot have gaps: 400, and the message names the column."""
    one = served("long_columns")
    body = json.dumps({"dataframe_split": {"columns": IRIS, "data": [[51, None, 14, 2]]}})
    assert compare(one, body) == 400
    message = one.ours.post("/invocations", content=body, headers=JSON).json()["message"]
    assert "sepal width (cm)" in message


def test_one_answer_for_one_row(served: Callable[[str], Served]) -> None:
    """Two labels for one row are refused; MLflow repeats the row and answers twice."""
    one = served("named_columns")
    body = json.dumps({"dataframe_split": {"columns": IRIS, "data": [ROW], "index": [1, 2]}})
    assert len(one.mlflows.post("/invocations", content=body, headers=JSON).json()["predictions"]) == 2
    assert one.ours.post("/invocations", content=body, headers=JSON).status_code == 400


@pytest.mark.parametrize("name", ["tensor", "times_and_flags"])
def test_csv_that_mlflow_refuses(served: Callable[[str], Served], name: str) -> None:
    """csv for tensors and datetimes answers as the JSON of the same rows does; MLflow refuses it."""
    one = served(name)
    headed = name != "tensor"
    csv = pd.DataFrame(one.case.rows).to_csv(index=False, header=headed)
    headers = CSV if headed else {"content-type": "text/csv; header=absent"}
    assert one.mlflows.post("/invocations", content=csv, headers=CSV).status_code == 400
    split = one.mlflows.post(
        "/invocations", content=bodies_of(one.case.rows)["dataframe_split"], headers=JSON
    )
    assert_same(one.ours.post("/invocations", content=csv, headers=headers).json(), split.json())


def content_type(client: TestClient, value: str, body: str | bytes) -> int:
    """The status of this body under this content type."""
    return int(client.post("/invocations", content=body, headers={"content-type": value}).status_code)


def test_content_types(served: Callable[[str], Served]) -> None:
    """Content types count in any case, with quoted and known parameters; others are 415."""
    one = served("named_columns")
    body = bodies_of(one.case.rows)["dataframe_split"]
    csv = one.case.rows.to_csv(index=False)
    assert content_type(one.ours, 'Application/JSON; Charset="UTF-8"', body) == 200
    assert content_type(one.ours, "Text/CSV; header=present", csv) == 200
    assert content_type(one.ours, "text/csv; charset=utf-16", csv.encode("utf-16")) == 200
    headless = csv.split("\n", 1)[1]
    assert content_type(one.ours, "text/csv; header=absent", headless) == 200
    for wrong in (
        "",
        "json",
        "text/plain",
        "application/json; version=2",
        "text/csv; charset=klingon",
        "text/csv; header=maybe",
        "application/json; charset=bz2",
        "application/jsonlines; charset=klingon",
        "application/vnd.apache.parquet; charset=utf-8",
    ):
        assert content_type(one.ours, wrong, body) == 415, wrong
    request = one.ours.build_request("POST", "/invocations", content=body)
    request.headers.pop("content-type", None)
    assert one.ours.send(request).status_code == 415


def test_health_and_version(served: Callable[[str], Served]) -> None:
    """/ping, /health and /version answer as MLflow's do, and unknown paths are 404 as JSON."""
    one = served("named_columns")
    for path in ("/ping", "/health", "/version"):
        ours, theirs = one.ours.get(path), one.mlflows.get(path)
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
    assert one.ours.get("/version").headers["content-type"].startswith("text/plain")
    missing = one.ours.get("/no-such-path")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert one.ours.get("/invocations").status_code == 405
