"""Bodies become questions, or a refusal; nothing else comes out, whatever goes in."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving.errors import InvalidRequest, RequestError, UnsupportedMedia
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.model import Model, TableArray
from runbake_serving.model.signature import Array, Column, Columns, Inputs, Scalar, Signature, Tensor, Tensors
from runbake_serving.protocols.media_type import MediaType, media_type_of
from runbake_serving.protocols.mlflow_scoring import FORMATS, question_of

JSON = MediaType(name="application/json", parameters={})


def echo(data: Any, params: Mapping[str, Any]) -> Any:
    """A model that answers what it was asked."""
    del params
    return data


def model_of(inputs: Inputs | None, array_dtype: str | None = None) -> Model:
    """A model that answers what it was asked, under this signature."""
    rules = Rules(rows_may_be_joined=True, array_dtype=array_dtype)
    loaded = Loaded(predict=echo, rules=rules)
    return Model(signature=Signature(inputs=inputs), loaded=loaded, mlflow_version="3")


def two(scalar: Scalar) -> Columns:
    """Two columns, a and b."""
    return Columns(columns=tuple(Column(name=name, type=scalar, required=True) for name in "ab"))


TENSOR = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float64"), shape=(-1, 2)),))
SIGNATURES = (None, two(Scalar.DOUBLE), two(Scalar.LONG), two(Scalar.STRING), two(Scalar.DATETIME), TENSOR)


@pytest.mark.parametrize(
    ("header", "name", "parameters"),
    [
        ("application/json", "application/json", {}),
        ("Application/JSON ; Charset=UTF-8", "application/json", {"charset": "utf-8"}),
        (
            'text/csv; header="absent"; charset=latin-1',
            "text/csv",
            {"header": "absent", "charset": "latin-1"},
        ),
    ],
)
def test_media_types(header: str, name: str, parameters: dict[str, str]) -> None:
    """Names and values come out in lower case and without quotes."""
    assert media_type_of(header) == MediaType(name=name, parameters=parameters)


@pytest.mark.parametrize(
    "parameter", ["charset*=utf-8''utf-8", "charset*0=ut; charset*1=f-8", f"charset*{'9' * 5000}=a"]
)
def test_extended_parameters(parameter: str) -> None:
    """Parameters as RFC 2231 encodes and continues them are 415."""
    with pytest.raises(UnsupportedMedia):
        media_type_of(f"application/json; {parameter}")


@given(st.text() | st.none())
def test_any_header_is_a_media_type_or_415(header: str | None) -> None:
    """No header raises anything but UnsupportedMedia."""
    try:
        name = media_type_of(header).name
    except UnsupportedMedia:
        return
    assert name.count("/") == 1


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, None]]}},
        {"dataframe_records": [{"a": 1, "b": 2, "x": 9}, {"b": None, "a": 3}]},
    ],
)
def test_array_path(body: Any) -> None:
    """An ordinary body goes straight into one array where the rule allows it, and nowhere else."""
    data = question_of(json.dumps(body).encode(), JSON, model_of(two(Scalar.DOUBLE), "float64")).data
    assert isinstance(data, TableArray)
    np.testing.assert_array_equal(data.values, [[1.0, 2.0], [3.0, np.nan]])
    long_way = question_of(json.dumps(body).encode(), JSON, model_of(two(Scalar.DOUBLE))).data
    assert not isinstance(long_way, TableArray)


def test_array_path_does_not_cut_fractions() -> None:
    """A fraction in a column of whole numbers goes the long way, to the answer that MLflow gives."""
    body = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, 2]]}}'
    assert not isinstance(question_of(body, JSON, model_of(two(Scalar.LONG), "int64")).data, TableArray)


@pytest.mark.parametrize(
    "body",
    [
        '{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}',
        '{"dataframe_split": {"columns": [["a"], ["b"]], "data": [[1, 2]]}}',
        '{"dataframe_split": {"columns": ["a", "b"], "data": 5, "index": [1, 2]}}',
        '{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"inputs": NaN' + "[" * 100_000,
        '{"inputs": NaN, "x": ' + "9" * 10_000 + "}",
        '{"inputs": 1, "instances": 2}',
        '{"dataframe_split": {"data": [[1, 2], [3]]}}',
        '{"dataframe_split": {"data": [[1, 2], null]}}',
        '{"dataframe_split": {"columns": ["a", "b"], "data": [{"a": 1, "b": 2}, [1, 2]]}}',
        '{"dataframe_split": {"data": {"a": [1, 2], "b": [1]}}}',
        '{"dataframe_split": {"data": {"a": 1, "b": 2}}}',
        '{"dataframe_split": {"columns": ["a", "b"], "data": [], "index": [1, 2, 3]}}',
        '{"dataframe_records": [{"a": 1, "b": 2}, [1, 2]]}',
        "\xff",
    ],
)
@pytest.mark.parametrize("inputs", SIGNATURES[:3])
def test_bombs_and_nonsense(inputs: Inputs | None, body: str) -> None:
    """Duplicate columns, deep nesting, endless numbers, ragged rows: refused as bad requests."""
    with pytest.raises(InvalidRequest):
        question_of(body.encode("latin-1"), JSON, model_of(inputs))


def test_sparse_records_do_not_fill_the_memory() -> None:
    """A name of its own for each record would make a table of rows times rows: refused."""
    records = [{f"c{number}": 1} for number in range(20_000)]
    body = json.dumps({"dataframe_records": records}).encode()
    with pytest.raises(InvalidRequest, match="in common"):
        question_of(body, JSON, model_of(None))


UNEVEN = ["x" * 50_000, *["a"] * 12_000]
TEXTS = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("str"), shape=(-1,)),))
NESTED = Columns(columns=(Column(name="a", type=Array(items=Scalar.STRING), required=True),))
TEXT = Columns(columns=(Column(name="a", type=Scalar.STRING, required=True),))


PAIRS = [[1, 2]] * 1_000
WIDE = [["x" * 50_000, 1], *PAIRS]
BYTES = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("bytes"), shape=(-1,)),))


def memory_of(body: Any, inputs: Inputs | None, array_dtype: str | None = None) -> tuple[int, int]:
    """The status of the answer to this JSON, and the most bytes that it took."""
    tracemalloc.start()
    try:
        return status_of(json.dumps(body).encode(), JSON, model_of(inputs, array_dtype)), (
            tracemalloc.get_traced_memory()[1]
        )
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "inputs", "status"),
    [
        ({"inputs": UNEVEN}, None, 400),
        ({"inputs": UNEVEN}, TEXTS, 400),
        ({"inputs": {"a": UNEVEN}}, TEXT, 200),
        ({"instances": [{"a": text} for text in UNEVEN]}, None, 400),
        ({"instances": [{"a": text} for text in UNEVEN]}, TEXT, 200),
        ({"inputs": {"a": UNEVEN}}, NESTED, 400),
        ({"inputs": [{"a": UNEVEN}]}, NESTED, 400),
        ({"dataframe_records": [{"a": UNEVEN}]}, NESTED, 200),
        ({"dataframe_split": {"data": [[1] * 20_000, *[[1]] * 20_000]}}, None, 400),
        ({"dataframe_records": [[1] * 20_000, *[[1]] * 20_000]}, None, 400),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1] * 20_000, *[[1]] * 20_000]}}, TENSOR, 400),
        ({"dataframe_split": {"data": [[text] for text in UNEVEN]}}, TEXTS, 400),
        ({"dataframe_split": {"data": [[text] for text in UNEVEN]}}, BYTES, 400),
        ({"dataframe_split": {"data": [[[1, *UNEVEN]], [[1] * 12_002]]}}, TENSOR, 400),
        ({"dataframe_records": [{"a": row} for row in WIDE]}, TENSOR, 400),
        ({"dataframe_records": [{"a": row} for row in PAIRS]}, TENSOR, 200),
    ],
)
def test_a_small_body_stays_small(body: Any, inputs: Inputs | None, status: int) -> None:
    """One long text or row among many short ones does not give all of them its size."""
    answered, most_bytes = memory_of(body, inputs)
    assert (answered, most_bytes < 100_000_000) == (status, True)


def test_a_long_text_among_whole_numbers_stays_small() -> None:
    """The way of whole numbers into one array gives up a body with text before numpy makes text of it all."""
    body = {"dataframe_split": {"columns": ["a", "b"], "data": WIDE}}
    answered, most_bytes = memory_of(body, two(Scalar.LONG), "int64")
    assert (answered, most_bytes < 100_000_000) == (400, True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "data", "columns", "index"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def status_of(body: bytes, media_type: MediaType, model: Model) -> int:
    """The status of the answer to this body."""
    try:
        model.answer(model.checked(question_of(body, media_type, model)))
    except RequestError as error:
        return error.status
    return 200


# pandas says when it must guess how a date is written; that its guess is taken is MLflow's rule.
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.sampled_from(FORMATS), VALUES, st.sampled_from(SIGNATURES), st.booleans())
def test_any_json_is_a_question_or_a_refusal(
    form: str, value: Any, inputs: Inputs | None, fast: bool
) -> None:
    """Any JSON in any form ends in a prediction or in a RequestError of the caller's."""
    model = model_of(inputs, "float64" if fast and inputs == two(Scalar.DOUBLE) else None)
    assert status_of(json.dumps({form: value}).encode(), JSON, model) in (200, 400)


@pytest.mark.filterwarnings("ignore::UserWarning")  # as above
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from(SIGNATURES))
def test_any_csv_is_a_question_or_a_refusal(body: bytes, inputs: Inputs | None) -> None:
    """Any bytes as csv end in a prediction or in a RequestError of the caller's."""
    csv = MediaType(name="text/csv", parameters={})
    assert status_of(body, csv, model_of(inputs)) in (200, 400)
