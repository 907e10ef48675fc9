"""Arrow and Parquet bodies become the data they hold, or a refusal; what unpacks to too much never does."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runbake_serving.errors import BodyTooLarge, InvalidRequest, NotAcceptable, RequestError
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.model import Model, TableArray
from runbake_serving.model.signature import Array, Column, Columns, Inputs, Scalar, Signature
from runbake_serving.protocols.answers import arrow_of
from runbake_serving.protocols.columnar import data_of_table, table_of_parquet, table_of_stream
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.protocols.mlflow_scoring import question_of

LIMIT_BYTES = 10_000_000
AB = Columns(columns=tuple(Column(name=name, type=Scalar.DOUBLE, required=True) for name in "ab"))
FRAME = pd.DataFrame({"b": [1.0, 2.0, None], "a": [4.0, 5.0, 6.0], "t": ["x", None, "ž"]})
Opener = Callable[[bytes, int, Inputs | None], pa.Table]


def echo(data: Any, params: Mapping[str, Any]) -> Any:
    """A model that answers what it was asked."""
    del params
    return data


def model_of(inputs: Inputs | None, array_dtype: str | None = None) -> Model:
    """A model that answers what it was asked, under this signature."""
    loaded = Loaded(predict=echo, rules=Rules(rows_may_be_joined=True, array_dtype=array_dtype))
    return Model(signature=Signature(inputs=inputs), loaded=loaded, mlflow_version="3")


def stream(table: pa.Table, **options: Any) -> bytes:
    """An Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


BODIES: Mapping[str, tuple[Callable[[pa.Table], bytes], Opener]] = {
    "arrow": (stream, table_of_stream),
    "arrow lz4": (lambda table: stream(table, compression="lz4"), table_of_stream),
    "arrow zstd": (lambda table: stream(table, compression="zstd"), table_of_stream),
    "parquet": (parquet, table_of_parquet),
    "parquet plain": (lambda table: parquet(table, use_dictionary=False), table_of_parquet),
    "parquet gzip": (lambda table: parquet(table, compression="gzip"), table_of_parquet),
    "parquet v2": (
        lambda table: parquet(table, data_page_version="2.0", version="2.6", compression="zstd"),
        table_of_parquet,
    ),
}
each_body = pytest.mark.parametrize(("write", "read"), BODIES.values(), ids=BODIES.keys())


@each_body
@pytest.mark.parametrize("array_dtype", ["float64", None])
def test_the_signatures_columns(
    write: Callable[[pa.Table], bytes], read: Opener, array_dtype: str | None
) -> None:
    """What the signature names comes out, as one array where the model takes one."""
    table = read(write(pa.Table.from_pandas(FRAME)), LIMIT_BYTES, AB)
    data = data_of_table(table, model_of(AB, array_dtype))
    if array_dtype is not None:
        assert isinstance(data, TableArray)
        data = pd.DataFrame(data.values, columns=["a", "b"])
    np.testing.assert_array_equal(data[["a", "b"]].to_numpy(), FRAME[["a", "b"]].to_numpy())
    assert set(data.columns) == {"a", "b"}


@each_body
def test_every_type(write: Callable[[pa.Table], bytes], read: Opener) -> None:
    """Every type that is read comes out as pandas reads it from the same bytes."""
    table = pa.table(
        {
            "bool": pa.array([True, None, False]),
            "int8": pa.array([1, 2, -3], pa.int8()),
            "uint64": pa.array([1, 2, 2**64 - 1], pa.uint64()),
            "float": pa.array([1.5, None, float("nan")], pa.float32()),
            "text": pa.array(["a", "", None]),
            "bytes": pa.array([b"a", b"\xff", None]),
            "time": pa.array([0, 1, None], pa.timestamp("us")),
            "date": pa.array([0, 1, None], pa.date32()),
            "category": pa.array(["a", "b", "a"]).dictionary_encode(),
            "numbers": pa.array([[1.0, 2.0], [], None]),
            "texts": pa.array([["a"], ["b", None], None]),
            "struct": pa.array([{"x": 1, "y": "a"}, {"x": 2, "y": None}, {"x": 3, "y": "c"}]),
        }
    )
    data = data_of_table(read(write(table), LIMIT_BYTES, None), model_of(None))
    plain = table.set_column(8, "category", table["category"].cast(pa.string()))
    pd.testing.assert_frame_equal(data, plain.to_pandas())


@each_body
def test_labels_of_rows_are_no_column(write: Callable[[pa.Table], bytes], read: Opener) -> None:
    """What pandas wrote as the index does not reach a model without a signature."""
    frame = FRAME.set_index("t")
    data = data_of_table(read(write(pa.Table.from_pandas(frame)), LIMIT_BYTES, None), model_of(None))
    assert list(data.columns) == ["b", "a"]


@each_body
def test_empty_tables(write: Callable[[pa.Table], bytes], read: Opener) -> None:
    """No rows, or none of the signature's columns, is for the signature to judge."""
    empty = read(write(pa.table({"a": pa.array([], pa.float64())})), LIMIT_BYTES, AB)
    assert list(data_of_table(empty, model_of(AB, "float64")).columns) == ["a"]
    other = read(write(pa.table({"x": [1.0]})), LIMIT_BYTES, AB)
    assert len(data_of_table(other, model_of(AB)).columns) == 0


ZEROS = pa.array(np.zeros(20_000_000 // 8))
BOMBS: Mapping[str, pa.Table] = {
    "zeros": pa.table({"a": ZEROS}),
    "a long text for many rows": pa.table(
        {"a": pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000, "int32")), ["x" * 10_000])}
    ),
    "rows of nothing": pa.table({"a": pa.nulls(20_000_000)}),
    "lists": pa.table({"a": pa.ListArray.from_arrays(np.arange(2_500_001, dtype="int32"), ZEROS)}),
    "flags": pa.table({"a": pa.array(np.zeros(10_000_000, bool))}),
}


@pytest.mark.parametrize("body", ["arrow", "arrow zstd", "parquet", "parquet v2"])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, body: str) -> None:
    """A small body that holds more than the limit is refused, and takes no more memory than the limit."""
    write, read = BODIES[body]
    packed = write(BOMBS[name])
    before = pa.total_allocated_bytes()
    with pytest.raises(BodyTooLarge):
        read(packed, LIMIT_BYTES, None)
    assert pa.total_allocated_bytes() - before < LIMIT_BYTES


def test_texts_of_a_parquet_dictionary() -> None:
    """A text that a dictionary page holds once and many rows name is measured before it is written out."""
    table = pa.table({"a": pa.array(["x" * 1000] * 100_000)})
    body = parquet(table)
    assert len(body) < 20_000
    with pytest.raises(BodyTooLarge):
        table_of_parquet(body, LIMIT_BYTES, None)
    nested = parquet(pa.table({"a": pa.array([["x" * 1000] * 100] * 1000)}))
    with pytest.raises(BodyTooLarge):
        table_of_parquet(nested, LIMIT_BYTES, None)


def test_delta_of_prefixes() -> None:
    """The encoding that repeats a text's beginning in every row is refused."""
    body = parquet(pa.table({"a": ["x"]}), use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"})
    with pytest.raises(InvalidRequest, match="delta"):
        table_of_parquet(body, LIMIT_BYTES, None)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2], pa.duration("s")),
        pa.array([1, 2], pa.time32("s")),
        pa.RunEndEncodedArray.from_arrays([2], ["x"]),
        pa.array(["a", "b"], pa.string_view()),
        pa.array([[None]], pa.list_(pa.null())),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_are_not_read(column: pa.Array) -> None:
    """Types that no table of MLflow's has are refused, as are those that repeat values without end."""
    with pytest.raises(InvalidRequest, match="type"):
        table_of_stream(stream(pa.table({"a": column})), LIMIT_BYTES, None)


@each_body
def test_two_columns_of_one_name(write: Callable[[pa.Table], bytes], read: Opener) -> None:
    """A name that stands for two columns is refused."""
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    with pytest.raises(InvalidRequest, match="one name"):
        read(write(table), LIMIT_BYTES, AB)


def test_lists_of_the_signature() -> None:
    """A column of lists meets a signature of arrays."""
    inputs = Columns(columns=(Column(name="a", type=Array(items=Scalar.DOUBLE), required=True),))
    body = stream(pa.table({"a": pa.array([[1.0, 2.0], [3.0]])}))
    media_type = MediaType(name="application/vnd.apache.arrow.stream", parameters={})
    model = model_of(inputs)
    answer = model.answer(model.checked(question_of(body, media_type, model)))
    assert [list(value) for value in answer["a"]] == [[1.0, 2.0], [3.0]]


def mutations(body: bytes, seed: int, count: int) -> Any:
    """Bodies that differ from this one in a few bytes, by seed."""
    draw = random.Random(seed)  # noqa: S311 -- not for secrets
    for _ in range(count):
        mutated = bytearray(body)
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            at = draw.randrange(len(mutated))
            mutated[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        if draw.random() < 0.2:
            del mutated[draw.randrange(len(mutated)) :]
        yield bytes(mutated)


def fuzz(body: str, count: int, seed: int) -> None:
    """Read mutated bodies; anything but a table or a refusal fails."""
    write, read = BODIES[body]
    frame = pd.DataFrame({"a": [1.0, 2.0] * 20, "t": ["x", "yy"] * 20, "l": [[1.0], [2.0, 3.0]] * 20})
    model = model_of(None)
    before = pa.total_allocated_bytes()
    for mutated in mutations(write(pa.Table.from_pandas(frame)), seed, count):
        try:
            data_of_table(read(mutated, LIMIT_BYTES, None), model)
        except RequestError as error:
            assert error.status in (400, 413)  # noqa: PT017 -- most raise nothing at all
    assert pa.total_allocated_bytes() - before < LIMIT_BYTES


@pytest.mark.parametrize("body", BODIES)
def test_damaged_bodies(body: str) -> None:
    """Whatever bytes are damaged, the outcome is a table or a refusal of the caller's."""
    fuzz(body, 300, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
def test_many_damaged_bodies(body: str) -> None:
    """20,000 damaged bodies of each kind end in a table or in a refusal of the caller's."""
    fuzz(body, 20_000, seed=2)


@pytest.mark.parametrize(
    ("predictions", "columns"),
    [
        (np.array([1.5, 2.5]), {"predictions": [1.5, 2.5]}),
        (np.array(["a", "b"]), {"predictions": ["a", "b"]}),
        (np.array([[1, 2], [3, 4]]), {"predictions": [[1, 2], [3, 4]]}),
        (["a", None], {"predictions": ["a", None]}),
        (pd.Series([1, 2]), {"0": [1, 2]}),
        (pd.DataFrame({"p": [0.5], "label": ["x"]}), {"p": [0.5], "label": ["x"]}),
    ],
)
def test_answers_in_arrow(predictions: Any, columns: Mapping[str, Any]) -> None:
    """Rows of an answer are rows of a table."""
    with pa.ipc.open_stream(arrow_of(predictions)) as reader:
        assert reader.read_all().to_pydict() == columns


@pytest.mark.parametrize("predictions", [7, {"a": 1}, [np.array([1.0])], np.array(1.0), [1, "a"]])
def test_answers_that_are_no_table(predictions: Any) -> None:
    """An answer without rows cannot be asked for in Arrow."""
    with pytest.raises(NotAcceptable):
        arrow_of(predictions)
