"""The typed protocol: the same predictions as /invocations, and every fault told with its place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pprint import pformat
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runbake_serving.app import create_app
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.model import Model
from runbake_serving.model.signature import (
    Column,
    Columns,
    Object,
    Param,
    Property,
    Scalar,
    Signature,
    Tensor,
    Tensors,
)
from runbake_serving.settings import Settings
from runbake_serving.typed.document import body_document
from tests.unit.serving import signatures

JSON = {"content-type": "application/json"}
PEOPLE = Columns(
    columns=(
        Column(name="age in years", type=Scalar.INTEGER, required=True),
        Column(name="a/b~c", type=Scalar.DOUBLE, required=True),
        Column(name="since", type=Scalar.DATETIME, required=False),
        Column(name="count", type=Scalar.LONG, required=False),
        Column(name="photo", type=Scalar.BINARY, required=False),
    )
)
PERSON = {"age in years": 3, "a/b~c": 1.5}


def seen(data: Any, params: Mapping[str, Any]) -> Any:
    """What the model gets, as text."""
    if isinstance(data, pd.DataFrame):
        # The order of names within an object is nobody's promise.
        told = f"{pformat(data.to_dict('list'), width=10_000)} {[*data.columns]} {[*map(str, data.dtypes)]}"
    elif isinstance(data, dict):
        told = repr({name: (value.tolist(), value.dtype.kind) for name, value in data.items()})
    else:
        told = repr((np.asarray(data).tolist(), np.asarray(data).dtype.kind))
    return [told, repr(sorted(params.items()))]


def model_of(inputs: Any, params: tuple[Param, ...] | None = None) -> Model:
    """A model that answers what it got."""
    loaded = Loaded(predict=seen, rules=Rules(rows_may_be_joined=False, refusals=(ValueError,)))
    return Model(signature=Signature(inputs=inputs, params=params), loaded=loaded, mlflow_version="3")


def asked(model: Model, *requests: tuple[str, Any]) -> list[httpx.Response]:
    """Answers to these paths and bodies."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=create_app(Settings(), model, None), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [
                await client.post(
                    path, content=body if isinstance(body, bytes) else json.dumps(body), headers=JSON
                )
                for path, body in requests
            ]

    return asyncio.run(ask())


def refused(inputs: Any, body: Any, params: tuple[Param, ...] | None = None) -> list[tuple[str, str]]:
    """Places and details of what is wrong with a body; nothing of the body may be told beside names."""
    [answer] = asked(model_of(inputs, params), ("/predict", body))
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "SECRET" not in answer.text
    problem = answer.json()
    assert problem["error_code"] == "INVALID_PARAMETER_VALUE"
    assert problem["request_id"] == answer.headers["x-request-id"]
    return [(error["pointer"], error["detail"]) for error in problem["errors"]]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_equal_to_invocations(data: st.DataObject) -> None:
    """Over all signatures: what /invocations answers, /predict answers the same; what fits is never refused
    where /invocations takes it, and nothing is a server error."""
    inputs = data.draw(signatures.columns() | signatures.tensors())
    schema = data.draw(signatures.params())
    value, params = data.draw(signatures.values_for(inputs)), data.draw(signatures.params_for(schema))
    given_params = {"params": params} if params else {}
    if isinstance(inputs, Columns):
        typed = {"rows": value, **given_params}
        named = inputs.named
        theirs = {"dataframe_records": value} if named else {"dataframe_split": {"data": value}}
    else:
        typed = theirs = {"inputs": value}
        typed = {**typed, **given_params}
    model = model_of(inputs, schema)
    ours, other = asked(model, ("/predict", typed), ("/invocations", {**theirs, **given_params}))
    assert ours.status_code in (200, 422), ours.text
    if other.status_code == 200:
        assert ours.json() == other.json()
    document = body_document(model.signature)
    Draft202012Validator.check_schema(document)
    Draft202012Validator(document).validate(typed)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_fits_is_answered(data: st.DataObject) -> None:
    """Over all signatures of plain columns and of tensors, a body that fits the document is answered."""
    inputs = data.draw(signatures.columns(signatures.scalars) | signatures.tensors())
    value = data.draw(signatures.values_for(inputs))
    key = "rows" if isinstance(inputs, Columns) else "inputs"
    [answer] = asked(model_of(inputs), ("/predict", {key: value}))
    assert answer.status_code == 200, answer.text


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_document_says_what_is_refused(data: st.DataObject) -> None:
    """Over all signatures, JSON of any kind that does not fit the document is refused, and never a 500."""
    inputs = data.draw(signatures.columns() | signatures.tensors())
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | signatures.texts
    anything = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(signatures.names, inner, max_size=3)
    )
    key = "rows" if isinstance(inputs, Columns) else "inputs"
    value: Any = data.draw(anything)
    if isinstance(inputs, Columns) and inputs.named:
        row = {column.name: data.draw(leaf) for column in inputs.columns}
        value = data.draw(st.sampled_from([value, [row], [row, value]]))
    model, body = model_of(inputs), {key: value}
    [answer] = asked(model, ("/predict", body))
    fits = Draft202012Validator(body_document(model.signature)).is_valid(body)
    assert answer.status_code in ((200, 422) if fits else (422,)), answer.text


def test_every_fault_of_a_row_is_told() -> None:
    """Field and row of each, by JSON Pointer; later rows are not looked at."""
    rows = [PERSON, {"age in years": "SECRET", "a/b~c": None, "since": "2026-13-01", "photo": "SECRET"}, {}]
    assert refused(PEOPLE, {"rows": rows}) == [
        ("/rows/1/age in years", "must be a whole number"),
        ("/rows/1/a~1b~0c", "must be a number"),
        ("/rows/1/since", "must be a time of the years 1700 to 2259, as 2026-01-31T12:00:00"),
        ("/rows/1/photo", "must be base64"),
    ]


def test_names_are_told() -> None:
    """A misspelt column is named together with the one that is missing."""
    assert refused(PEOPLE, {"rows": [{"age in years": 3, "a/b": 1}]}) == [
        ("/rows/0/a~1b", "is not known"),
        ("/rows/0/a~1b~0c", "is missing"),
    ]
    assert refused(PEOPLE, {"row": []}) == [("/row", "is not known"), ("/rows", "is missing")]
    [answer] = asked(model_of(PEOPLE), ("/predict", {"rows": [{**PERSON, "Count": 1}]}))
    problem = answer.json()
    assert (problem["row"], problem["column"]) == (0, "Count")
    assert problem["detail"] == "column 'Count' is not known (row 0)"


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (True, "must be a whole number"),
        (1.5, "must be a whole number"),
        ("1", "must be a whole number"),
        (None, "must be a whole number"),
        (2**31, "must be within the range of its type"),
        (10**400, "must be within the range of its type"),
        ([1], "must be a whole number"),
    ],
)
def test_whole_numbers(value: Any, detail: str) -> None:
    """Nothing is converted to a whole number."""
    [(_, told)] = refused(PEOPLE, {"rows": [{**PERSON, "age in years": value}]})
    assert told == detail


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"NaN", b"Infinity", b"9" * 5000])
def test_numbers_that_no_float_holds(number: bytes) -> None:
    """What would silently become infinite is refused."""
    body = b'{"rows": [{"age in years": 1, "a/b~c": %b}]}' % number
    [answer] = asked(model_of(PEOPLE), ("/predict", body))
    assert answer.status_code in (400, 422)


def test_times() -> None:
    """With a zone or without, a day or nanoseconds: each becomes the same UTC time for the model."""
    given = ["2026-01-02", "2026-01-02T03:04", "2026-01-02 03:04:05.123456789", "2026-01-02T03:04:05+02:00"]
    rows = [{**PERSON, "since": moment} for moment in (*given, "2026-01-02T03:04:05Z", None)]
    [answer] = asked(model_of(PEOPLE), ("/predict", {"rows": rows}))
    told = answer.json()["predictions"][0]
    for moment in ("2026-01-02 00:00:00", "03:04:00", "03:04:05.123456789", "01:04:05", "03:04:05'", "NaT"):
        assert moment in told
    assert "datetime64[ns]" in told
    assert refused(PEOPLE, {"rows": [PERSON, {**PERSON, "since": "2026-02-30"}]}) == [
        ("/rows/1/since", "is not a day of the calendar")
    ]


def test_columns_that_may_be_left_out() -> None:
    """One that can have gaps may be left out of any row; one that cannot, of all rows or of none."""
    [answer] = asked(model_of(PEOPLE), ("/predict", {"rows": [PERSON, {**PERSON, "since": "2026-01-02"}]}))
    told = answer.json()["predictions"][0]
    assert "'since': [NaT" in told
    assert "count" not in told
    assert refused(PEOPLE, {"rows": [{**PERSON, "count": 1}, PERSON]}) == [
        ("/rows/1/count", "must be in all rows or in none")
    ]
    assert refused(PEOPLE, {"rows": [{**PERSON, "count": None}]}) == [
        ("/rows/0/count", "must be a whole number")
    ]


def test_params() -> None:
    """Each by its type; left out, it has its default; bytes and times reach the model as such."""
    params = (
        Param(name="level", type=Scalar.DOUBLE, default=0.5, listed=False),
        Param(name="picks", type=Scalar.LONG, default=[1], listed=True),
        Param(name="key", type=Scalar.BINARY, default=b"", listed=False),
        Param(name="at", type=Scalar.DATETIME, default=None, listed=False),
    )
    body = {"rows": [PERSON], "params": {"level": 2, "key": "AAE=", "at": "2026-01-02T03:04:05+01:00"}}
    [answer] = asked(model_of(PEOPLE, params), ("/predict", body))
    told = answer.json()["predictions"][1]
    assert "('level', 2.0)" in told
    assert "('picks', [1])" in told
    assert "b'\\x00\\x01'" in told
    assert "datetime.datetime(2026, 1, 2, 2, 4, 5)" in told
    wrong = {"rows": [PERSON], "params": {"level": "SECRET", "picks": [1, "SECRET"]}}
    assert refused(PEOPLE, wrong, params) == [
        ("/params/level", "must be a number"),
        ("/params/picks/1", "must be a whole number"),
    ]
    assert refused(PEOPLE, {"rows": [PERSON], "params": {"Level": 1}}, params) == [
        ("/params/Level", "is not known")
    ]
    assert refused(PEOPLE, {"rows": [PERSON], "params": {}}) == [("/params", "is not known")]


def test_tensors() -> None:
    """Shapes are checked to the last dimension, and unequal rows are refused."""
    one = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float32"), shape=(-1, 2)),))
    assert refused(one, {"inputs": [[1, 2], [3]]}) == [("/inputs/1", "must have at least 2 items")]
    assert refused(one, {"inputs": [[1, 2, 3]]}) == [("/inputs/0", "must have at most 2 items")]
    assert refused(one, {"inputs": [[1, 1e39]]}) == [("/inputs/0/1", "must be within the range of its type")]
    two = Tensors(
        tensors=tuple(Tensor(name=name, dtype=np.dtype("int64"), shape=(-1, -1)) for name in ("a", "b"))
    )
    assert refused(two, {"inputs": {"a": [[1]]}}) == [("/inputs/b", "is missing")]
    assert len(refused(two, {"inputs": {"a": [[1]], "b": [[1], [1, 2]]}})) == 1


def test_nested() -> None:
    """What is wrong inside an object is told by its place."""
    inside = Object(properties=(Property(name="x", type=Scalar.INTEGER, required=True),))
    nested = Columns(columns=(Column(name="o", type=inside, required=True),))
    assert refused(nested, {"rows": [{"o": {"y": "SECRET"}}]}) == [
        ("/rows/0/o/y", "is not known"),
        ("/rows/0/o/x", "is missing"),
    ]
    assert refused(nested, {"rows": [{"o": {"x": "SECRET"}}]}) == [("/rows/0/o/x", "must be a whole number")]


def test_many_faults_are_counted() -> None:
    """An answer stays small however much is wrong, and quick."""
    rows = [{**{f"x{number}": 1 for number in range(50_000)}, **PERSON}]
    assert len(refused(PEOPLE, {"rows": rows})) == 20
    [answer] = asked(model_of(PEOPLE), ("/predict", {"rows": [{"x" * 100_000: 1, **PERSON}]}))
    assert len(answer.content) < 2000


def test_what_is_not_json() -> None:
    """400 for what cannot be read, 415 for other content types, 404 where there is no signature."""
    deep = b'{"rows": ' + b"[" * 100_000
    for answer in asked(model_of(PEOPLE), *(("/predict", body) for body in (b"", b"{", b"\xff", deep))):
        assert answer.status_code == 400
    assert asked(model_of(None), ("/predict", b"{}"))[0].status_code == 404
