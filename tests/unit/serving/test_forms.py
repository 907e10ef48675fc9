"""Content types, compression and Accept of /invocations, through the application."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import zlib
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving.app import create_app
from runbake_serving.errors import NotAcceptable, RequestError
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Column, Columns, Inputs, Scalar, Signature, Tensor, Tensors
from runbake_serving.protocols.accept import preferred
from runbake_serving.protocols.answers import FORMS, csv_of, form_of, lines_of
from runbake_serving.protocols.compression import accepted_coding, packed, unpacked
from runbake_serving.protocols.json_lines import form_of_lines
from runbake_serving.settings import Settings

AB = Columns(columns=tuple(Column(name=name, type=Scalar.DOUBLE, required=True) for name in "ab"))
TEXT = Columns(columns=(Column(name="t", type=Scalar.STRING, required=True),))
TENSOR = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float64"), shape=(-1, 2)),))


def sums(data: Any, params: Mapping[str, Any]) -> Any:
    """A model that answers the sum of each row."""
    del params
    return np.asarray(data, dtype="float64").sum(axis=1)


def model_of(inputs: Inputs | None = AB, predict: Any = sums, *, joins: bool = True) -> Model:
    """A model under this signature."""
    loaded = Loaded(predict=predict, rules=Rules(rows_may_be_joined=joins))
    return Model(signature=Signature(inputs=inputs), loaded=loaded, mlflow_version="3")


def ask(
    content: bytes,
    headers: Mapping[str, str],
    model: Model | None = None,
    settings: Settings | None = None,
    method: str = "POST",
    path: str = "/invocations",
) -> httpx.Response:
    """One answer of an application around this model."""

    async def asked() -> httpx.Response:
        app = create_app(settings or Settings(), model or model_of(), None)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=dict(headers))

    return asyncio.run(asked())


ROWS = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}).encode()
JSON = {"content-type": "application/json"}

# --- Accept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/*", "text/csv; charset=utf-8; header=absent"),
        ("Text/CSV", "text/csv; charset=utf-8; header=absent"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=0.2", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv; charset=utf-8; header=absent"),
        ("*/*;q=0.1, application/vnd.apache.arrow.stream;q=0.2", "application/vnd.apache.arrow.stream"),
        ("text/csv;q=0, text/*, application/jsonlines;q=0.3", "application/jsonlines"),
        ("nonsense", "application/json"),
        (";;;,,,", "application/json"),
    ],
)
def test_accepted(accept: str, form: str) -> None:
    """The form with the largest weight is taken, JSON where several have it, or where nothing is said."""
    assert form_of(accept).media_type == form


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "*/*;q=0"])
def test_not_acceptable(accept: str) -> None:
    """A caller that takes none of our forms is told so before the model is asked."""

    def never(data: Any, params: Mapping[str, Any]) -> Any:
        raise AssertionError

    answer = ask(ROWS, {**JSON, "accept": accept}, model_of(predict=never))
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["message"]


@given(st.text())
def test_any_accept(accept: str) -> None:
    """Any Accept is a form or 406."""
    try:
        assert preferred(accept, tuple(FORMS)) in FORMS
    except NotAcceptable:
        assert "/" in accept


# --- answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predictions", "lines", "table"),
    [
        (np.array([1.5, np.nan]), ["1.5", "null"], [["1.5"], [""]]),
        (np.array([[1, 2], [3, 4]]), ["[1,2]", "[3,4]"], [["1", "2"], ["3", "4"]]),
        (["a,b", 'c"d', "e\nf", ""], ['"a,b"', '"c\\"d"', '"e\\nf"', '""'],
         [["a,b"], ['c"d'], ["e\nf"], [""]]),
        (pd.DataFrame({"p": [0.5], "l": [[1, 2]], "b": [True]}), ['{"p":0.5,"l":[1,2],"b":true}'],
         [["0.5", "[1,2]", "true"]]),
        ([], [], []),
    ],
)  # fmt: skip
def test_lines_and_csv(predictions: Any, lines: list[str], table: list[list[str]]) -> None:
    """A row of the answer is a line, in JSON Lines and in csv, and csv reads back."""
    assert lines_of(predictions).decode() == "".join(f"{line}\n" for line in lines)
    assert list(csv.reader(io.StringIO(csv_of(predictions).decode(), newline=""))) == table


@pytest.mark.parametrize("predictions", [{"a": [1]}, 7, [np.array([1.0])], "text"])
def test_answers_without_rows(predictions: Any) -> None:
    """What has no rows is 406 in the forms that need them."""
    for write in (lines_of, csv_of):
        with pytest.raises(NotAcceptable):
            write(predictions)


def test_every_form_of_one_answer() -> None:
    """The same predictions come in the form that is asked for, under its content type."""
    answers = {
        name: ask(ROWS, {**JSON, "accept": name})
        for name in (
            "application/json",
            "application/jsonlines",
            "text/csv",
            "application/vnd.apache.arrow.stream",
        )
    }
    for name, answer in answers.items():
        assert answer.headers["content-type"].startswith(name)
    assert answers["application/json"].json() == {"predictions": [3.0, 7.0]}
    assert answers["application/jsonlines"].text == "3.0\n7.0\n"
    assert answers["text/csv"].text == "3.0\n7.0\n"
    with pa.ipc.open_stream(answers["application/vnd.apache.arrow.stream"].content) as reader:
        assert reader.read_all().to_pydict() == {"predictions": [3.0, 7.0]}


# --- JSON Lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inputs", "form"),
    [
        ('{"a":1}\n{"a":2}', AB, ("dataframe_records", [{"a": 1}, {"a": 2}])),
        ('\ufeff{"a":1}\r\n\r\n{"a":2}\r\n', AB, ("dataframe_records", [{"a": 1}, {"a": 2}])),
        ("[1,2]\n[3,4]\n", AB, ("dataframe_split", {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]})),
        ('"x"\n"y"\n', TEXT, ("dataframe_split", {"columns": ["t"], "data": [["x"], ["y"]]})),
        ("[1,2]\n", TENSOR, ("inputs", [[1, 2]])),
        ("[1,2]\n", None, ("inputs", [[1, 2]])),
    ],
)
def test_lines_are_rows(text: str, inputs: Inputs | None, form: Any) -> None:
    """Each line is a row: by name, in the signature's order, or of the only column."""
    assert form_of_lines(text.encode(), inputs) == form


@pytest.mark.parametrize(
    "text", ['{"a":1}\n{"a":', "1,2\n", '{"a":1}\n[1]\n', "[1],[2]\n", "NaN\n", "\xff\n"]
)
def test_broken_lines(text: str) -> None:
    """A line that is no JSON value, or of another kind than the others, is refused; the row is told."""
    answer = ask(text.encode("latin-1"), {"content-type": "application/jsonlines"})
    assert answer.status_code == 400
    if '"a":' in text and "[" not in text:
        assert answer.json()["row"] == 1


@given(
    st.binary(max_size=60) | st.text(max_size=40).map(str.encode), st.sampled_from([AB, TEXT, TENSOR, None])
)
def test_any_lines(body: bytes, inputs: Inputs | None) -> None:
    """Any bytes are lines of JSON or a refusal."""
    try:
        form_of_lines(body, inputs)
    except RequestError as error:
        assert error.status == 400  # noqa: PT017 -- most raise nothing at all


# --- compression ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["application/json", "text/csv", "application/jsonlines"])
@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("x-gzip", gzip.compress)]
)
def test_compressed_bodies(content_type: str, coding: str, pack: Any) -> None:
    """A compressed body of any content type gets the answer of what is in it; a bomb gets 413."""
    body = {
        "application/json": ROWS,
        "text/csv": b"a,b\n1,2\n3,4\n",
        "application/jsonlines": b"[1,2]\n[3,4]\n",
    }
    headers = {"content-type": content_type, "content-encoding": coding}
    answer = ask(pack(body[content_type]), headers)
    assert answer.json() == {"predictions": [3.0, 7.0]}
    small = Settings(body_limit_bytes=10_000)
    assert ask(pack(b" " * 10_001), headers, settings=small).status_code == 413


@given(st.binary(), st.sampled_from(["gzip", "deflate"]))
def test_packing(body: bytes, coding: str) -> None:
    """What is packed unpacks to the same, to the limit's last byte, and packs to the same bytes again."""
    assert unpacked(packed(body, coding), coding, len(body)) == body
    assert packed(body, coding) == packed(body, coding)
    with pytest.raises(RequestError):
        unpacked(packed(body + b"x", coding), coding, len(body))


@given(st.binary(max_size=100), st.sampled_from(["gzip", "deflate"]))
def test_any_compressed_body(body: bytes, coding: str) -> None:
    """Any bytes unpack, or are refused."""
    try:
        unpacked(body, coding, 1000)
    except RequestError as error:
        assert error.status in (400, 413)  # noqa: PT017 -- most raise nothing at all


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", ""),
        ("br", ""),
        ("gzip", "gzip"),
        ("br, deflate;q=0.5", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
    ],
)
def test_accepted_coding(header: str, coding: str) -> None:
    """The first coding of ours that is not excluded is taken."""
    assert accepted_coding(header) == coding


# --- SageMaker -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "joins", "parameters"),
    [
        (Settings(), True, (1, "MULTI_RECORD", 6)),
        (Settings(workers=4, threads=2), True, (8, "MULTI_RECORD", 6)),
        (Settings(workers=64), True, (16, "MULTI_RECORD", 6)),
        (Settings(body_limit_bytes=2_200_000), False, (1, "SINGLE_RECORD", 2)),
        (Settings(body_limit_bytes=1000), True, (1, "MULTI_RECORD", 1)),
    ],
)
def test_execution_parameters(settings: Settings, joins: bool, parameters: tuple[Any, ...]) -> None:
    """A batch transform is told payloads and concurrency within our limits and SageMaker's."""
    answer = ask(b"", {}, model_of(joins=joins), settings, "GET", "/execution-parameters").json()
    names = ("MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB")
    assert answer == dict(zip(names, parameters, strict=True))
    assert answer["MaxConcurrentTransforms"] * answer["MaxPayloadInMB"] <= 100


@pytest.mark.parametrize("accept", ["text/csv", "application/jsonlines"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/csv", b"1,2\n3,4\n"), ("text/csv", b"1,2\n3,4"), ("application/jsonlines", b"[1,2]\n[3,4]\n")],
)
def test_batch_transform(content_type: str, body: bytes, accept: str) -> None:
    """Lines of a file, as SageMaker splits them, get a line each; there is no header on either side."""
    answer = ask(body, {"content-type": content_type, "accept": accept})
    assert answer.text == "3.0\n7.0\n"
