"""The Open Inference Protocol: tensors become what the signature takes, or a refusal that says where."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runbake_serving.app import create_app
from runbake_serving.errors import InvalidRequest, RequestError
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.label.provenance import Provenance, provenance_of
from runbake_serving.model.model import Model, TableArray
from runbake_serving.model.signature import (
    Array,
    Column,
    Columns,
    Inputs,
    Param,
    Scalar,
    Signature,
    Tensor,
    Tensors,
)
from runbake_serving.protocols.open_inference import inference_of
from runbake_serving.protocols.tensors import (
    DATATYPES,
    array_of_bytes,
    array_of_json,
    bytes_of_array,
    json_of_array,
    typed,
)
from runbake_serving.settings import Settings

LABELS = provenance_of(
    b'{"model": {"registeredName": "wine {x} \xc3\xa9", "registeredVersion": 3, "flavor": "sklearn"}}', "test"
)
PLAIN_LABELS = provenance_of(b'{"model": {"name": "wine"}}', "test")


def echo(data: Any, params: Mapping[str, Any]) -> Any:
    """A model that answers what it was asked."""
    del params
    return data


def columns(**kinds: Any) -> Columns:
    """A signature of these columns, all required."""
    return Columns(columns=tuple(Column(name=name, type=kind, required=True) for name, kind in kinds.items()))


def model_of(
    inputs: Inputs | None,
    *,
    array_dtype: str | None = None,
    params: tuple[Param, ...] | None = None,
    predict: Callable[[Any, Mapping[str, Any]], Any] = echo,
    outputs: Inputs | None = None,
) -> Model:
    """A model under this signature."""
    loaded = Loaded(predict=predict, rules=Rules(rows_may_be_joined=True, array_dtype=array_dtype))
    signature = Signature(inputs=inputs, params=params, outputs=outputs)
    return Model(signature=signature, loaded=loaded, mlflow_version="3")


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    """A tensor in JSON."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def asked(model: Model, *inputs: dict[str, Any], **others: Any) -> Any:
    """What reaches the model."""
    question, _ = inference_of(json.dumps({"inputs": list(inputs), **others}).encode(), "", model)
    data = model.checked(question).data
    return data.values if isinstance(data, TableArray) else data


def answer_to(
    model: Model,
    method: str,
    path: str,
    *,
    provenance: Provenance | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> httpx.Response:
    """One answer of an application around this model."""

    async def ask() -> httpx.Response:
        app = create_app(settings or Settings(), model, provenance)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


AB = columns(a=Scalar.DOUBLE, b=Scalar.DOUBLE)
A1 = tensor("a", "FP64", [2], [1.0, None])
B1 = tensor("b", "FP64", [2, 1], [[3], [4.5]])


# --- tensors -------------------------------------------------------------------------------------------

ARRAYS = st.sampled_from([dtype for name, dtype in DATATYPES.items() if name != "BYTES"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@given(ARRAYS)
def test_binary_there_and_back(array: np.ndarray[Any, Any]) -> None:
    """Binary data of any dtype and shape come back bit for bit."""
    datatype = next(name for name, dtype in DATATYPES.items() if dtype == array.dtype)
    data = bytes_of_array(typed(array))
    back = array_of_bytes(memoryview(data), datatype, array.shape, "input 0")
    assert back.dtype == array.dtype
    assert back.flags.writeable
    assert back.tobytes() == array.tobytes()


@given(ARRAYS.filter(lambda array: array.dtype.kind != "f" or bool(np.isfinite(array).all())))
def test_json_there_and_back(array: np.ndarray[Any, Any]) -> None:
    """JSON data come back, flat and nested."""
    datatype = next(name for name, dtype in DATATYPES.items() if dtype == array.dtype)
    flat = json_of_array(typed(array)).tolist()
    nested = array.tolist() if array.ndim else [array.item()]
    for data in (flat, nested):
        np.testing.assert_array_equal(array_of_json(data, datatype, array.shape, "input 0"), array)


@given(st.lists(st.text()))
def test_texts_there_and_back(texts: list[str]) -> None:
    """Texts of any length come back, in both forms."""
    array = typed(np.array(texts, dtype=object))
    back = array_of_bytes(memoryview(bytes_of_array(array)), "BYTES", (len(texts),), "input 0")
    assert [text.decode() for text in back] == texts
    assert array_of_json(json_of_array(array), "BYTES", (len(texts),), "input 0").tolist() == texts


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT8", [128]),
        ("UINT8", [-1]),
        ("INT64", [2**63]),
        ("UINT64", [2**64]),
        ("INT64", [1.5]),
        ("INT32", [True]),
        ("INT32", [None]),
        ("FP32", ["1"]),
        ("FP64", [True]),
        ("FP64", [[1.0, 2.0]]),
        ("FP64", [1.0, 2.0]),
        ("FP64", [[[1.0]]]),
        ("FP64", 1.0),
        ("FP64", {"0": 1.0}),
        ("FP64", None),
        ("BOOL", [1]),
        ("BYTES", [1]),
        ("BYTES", [None]),
    ],
)
def test_data_of_another_type_or_shape(datatype: str, data: Any) -> None:
    """JSON data that are not of the datatype or the shape are refused, not converted."""
    with pytest.raises(InvalidRequest):
        array_of_json(data, datatype, (1,), "input 0")


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP64", (1,), b"1234567"),
        ("FP64", (2**40, 2**40), b""),
        ("BOOL", (2,), b"\x01\x02"),
        ("BYTES", (1,), b""),
        ("BYTES", (1,), struct.pack("<I", 5) + b"1234"),
        ("BYTES", (1,), struct.pack("<I", 1) + b"1234"),
        ("BYTES", (2**40,), b"1234"),
        ("BYTES", (2,), struct.pack("<I", 4) + b"1234"),
    ],
)
def test_bytes_of_another_size(datatype: str, shape: tuple[int, ...], data: bytes) -> None:
    """Binary data that are not as long as shape and datatype say are refused."""
    with pytest.raises(InvalidRequest, match="input 0"):
        array_of_bytes(memoryview(data), datatype, shape, "input 0")


# --- signatures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("array_dtype", ["float64", None])
def test_a_tensor_for_each_column(array_dtype: str | None) -> None:
    """Columns come in any order, of shape [n] or [n, 1]; as one array where the model takes one."""
    data = asked(model_of(AB, array_dtype=array_dtype), B1, A1)
    assert isinstance(data, np.ndarray if array_dtype else pd.DataFrame)
    np.testing.assert_array_equal(np.asarray(data), [[1.0, 3.0], [np.nan, 4.5]])


@pytest.mark.parametrize("array_dtype", ["float64", None])
def test_one_tensor_for_a_table(array_dtype: str | None) -> None:
    """One tensor of [rows, columns] is the whole table, flat or nested."""
    model = model_of(AB, array_dtype=array_dtype)
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        np.testing.assert_array_equal(
            np.asarray(asked(model, tensor("x", "FP64", [2, 2], data))), [[1, 2], [3, 4]]
        )
    with pytest.raises(RequestError):
        asked(model, tensor("x", "FP64", [2, 3], [1, 2, 3, 4, 5, 6]))


def test_every_kind_of_column() -> None:
    """Texts, times, flags, bytes and lists arrive as the signature's types; narrower numbers are widened."""
    signed = columns(
        text=Scalar.STRING, time=Scalar.DATETIME, flag=Scalar.BOOLEAN, raw=Scalar.BINARY, wide=Scalar.LONG,
        single=Scalar.DOUBLE, list=Array(items=Scalar.DOUBLE),
    )  # fmt: skip
    frame = asked(
        model_of(signed),
        tensor("text", "BYTES", [1], ["ž"]),
        tensor("time", "BYTES", [1], ["2026-01-02T03:04:05"]),
        tensor("flag", "BOOL", [1, 1], [True]),
        tensor("raw", "BYTES", [1], ["/w=="]),
        tensor("wide", "INT32", [1], [7]),
        tensor("single", "FP32", [1], [1.5]),
        tensor("list", "FP64", [1, 2], [1.0, 2.0]),
    )
    row = frame.iloc[0]
    assert (row["text"], row["time"], row["raw"]) == ("ž", pd.Timestamp("2026-01-02 03:04:05"), b"\xff")
    assert (row["flag"], row["wide"], row["single"], list(row["list"])) == (True, 7, 1.5, [1.0, 2.0])
    assert frame["wide"].dtype == np.int64


def test_tensors_of_the_signature() -> None:
    """An unnamed tensor goes by any name, named ones by theirs; dtype and shape are the signature's."""
    one = model_of(Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float32"), shape=(-1, 2)),)))
    np.testing.assert_array_equal(asked(one, tensor("x", "FP32", [1, 2], [1, 2])), [[1.0, 2.0]])
    two = model_of(
        Tensors(tensors=tuple(Tensor(name=name, dtype=np.dtype("int64"), shape=(-1,)) for name in "pq"))
    )
    data = asked(two, tensor("q", "INT64", [1], [2]), tensor("p", "INT64", [1], [1]))
    assert {name: values.tolist() for name, values in data.items()} == {"p": [1], "q": [2]}
    for wrong in (tensor("x", "FP64", [1, 2], [1, 2]), tensor("x", "FP32", [2], [1, 2])):
        with pytest.raises(RequestError):
            asked(one, wrong)
    with pytest.raises(RequestError, match="'p', 'q'"):
        asked(two, tensor("secret", "INT64", [1], [2]))


def test_without_a_signature() -> None:
    """One tensor is an array, several columns are a table, others are arrays by name."""
    model = model_of(None)
    assert asked(model, tensor("x", "FP64", [1, 2], [1, 2])).tolist() == [[1.0, 2.0]]
    assert asked(model, tensor("x", "BYTES", [1], ["a"])).tolist() == ["a"]
    table = asked(model, tensor("x", "FP64", [1], [1]), tensor("y", "BYTES", [1, 1], ["a"]))
    assert table.to_dict("records") == [{"x": 1.0, "y": "a"}]
    others = asked(model, tensor("x", "FP64", [1, 2], [1, 2]), tensor("y", "INT8", [], [1]))
    assert {name: values.shape for name, values in others.items()} == {"x": (1, 2), "y": ()}


PARAMS = (Param(name="level", type=Scalar.DOUBLE, default=0.5, listed=False),)


def test_parameters() -> None:
    """Parameters of the signature reach the model; a name that it does not know is refused."""
    model = model_of(AB, params=PARAMS)
    body = {
        "inputs": [A1, B1],
        "parameters": {"level": 2.5, "binary_data_output": False, "content_type": "pd"},
    }
    question, _ = inference_of(json.dumps(body).encode(), "", model)
    assert model.checked(question).params == {"level": 2.5}
    for signed in (model, model_of(AB)):
        with pytest.raises(RequestError, match="parameters"):
            asked(signed, A1, B1, parameters={"secret": 1})


# --- answers -------------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"p": [0.5, np.nan], "label": ["x", None]})


def infer(model: Model, *inputs: dict[str, Any], **others: Any) -> httpx.Response:
    """The answer to an infer request in JSON."""
    body = {"inputs": list(inputs) or [A1, B1], **others}
    return answer_to(model, "POST", "/v2/models/wine/infer", json=body, provenance=PLAIN_LABELS)


@pytest.mark.parametrize(
    ("predictions", "outputs"),
    [
        (np.array([1.5, np.nan]), [("predictions", "FP64", [2], [1.5, None])]),
        (np.array([[1, 2]]), [("predictions", "INT64", [1, 2], [1, 2])]),
        (np.array(["a", "é"]), [("predictions", "BYTES", [2], ["a", "é"])]),
        (np.float32(0.5), [("predictions", "FP32", [1], [0.5])]),
        (["a", None, {"x": 1}], [("predictions", "BYTES", [3], ["a", "", '{"x":1}'])]),
        ([1, True], [("predictions", "BYTES", [2], ["1", "true"])]),
        (np.array(["2026-01-02", "NaT"], "M8[D]"), [("predictions", "BYTES", [2], ["2026-01-02", ""])]),
        (FRAME, [("p", "FP64", [2, 1], [0.5, None]), ("label", "BYTES", [2, 1], ["x", ""])]),
        (pd.Series([1, 2], name="s"), [("s", "INT64", [2], [1, 2])]),
        ([np.array([1.0]), np.array([2.0])],
         [("predictions-0", "FP64", [1], [1.0]), ("predictions-1", "FP64", [1], [2.0])]),
        ({"k": [True]}, [("k", "BOOL", [1], [True])]),
        ("a", [("predictions", "BYTES", [1], ["a"])]),
    ],
)  # fmt: skip
def test_answers(predictions: Any, outputs: list[tuple[Any, ...]]) -> None:
    """Every kind of prediction is tensors, with the request's id and the model's name."""
    answer = infer(model_of(AB, predict=lambda *_: predictions), id="q7")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "model_name": "wine",
        "id": "q7",
        "outputs": [dict(zip(("name", "datatype", "shape", "data"), one, strict=True)) for one in outputs],
    }


def test_wanted_outputs() -> None:
    """Only the outputs that are asked for are in the answer, each in its form; an unknown one is refused."""
    model = model_of(AB, predict=lambda *_: FRAME)
    answer = infer(model, outputs=[{"name": "label", "parameters": {"binary_data": True}}, {"name": "p"}])
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:length])
    assert [output["name"] for output in document["outputs"]] == ["label", "p"]
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 9}
    assert answer.content[length:] == b"\x01\x00\x00\x00x\x00\x00\x00\x00"
    assert answer.headers["content-type"] == "application/octet-stream"
    wrongs: tuple[Any, ...] = (
        [{"name": "secret"}],
        [{"name": "p", "parameters": {"classification": 2}}],
        [{}],
        {},
        [1],
    )
    for wrong in wrongs:
        refused = infer(model, outputs=wrong)
        assert refused.status_code == 400
        assert "secret" not in refused.text
        assert refused.json()["error"] == refused.json()["message"]


def bare(body: bytes) -> bytes:
    """Deflate without zlib's wrapping, as some clients send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare)]
)
def test_packed_both_ways(coding: str, pack: Callable[[bytes], bytes]) -> None:
    """A compressed request is read, a large answer is compressed where that is asked for, a bomb is 413."""
    body = json.dumps({"inputs": [tensor("x", "FP64", [5000, 2], [1.0] * 10_000)]}).encode()

    def ask(content: bytes, **settings: Any) -> httpx.Response:
        return answer_to(
            model_of(AB),
            "POST",
            "/v2/models/model/infer",
            content=content,
            headers={"content-encoding": coding, "accept-encoding": coding},
            settings=Settings(**settings),
        )

    answer = ask(pack(body))
    assert answer.headers["content-encoding"] == coding
    assert len(answer.json()["outputs"]) == 2
    assert ask(pack(body), body_limit_bytes=len(body) - 1).status_code == 413
    for damaged in (pack(body)[:-1], pack(body) + b"x", b"", b"\x07" + pack(body)):
        assert ask(damaged).status_code == 400


def test_unknown_coding() -> None:
    """A Content-Encoding that is not read, and several at once, are 415."""
    for coding in ("br", "gzip, gzip"):
        headers = {"content-encoding": coding}
        answer = answer_to(model_of(AB), "POST", "/v2/models/model/infer", content=b"{}", headers=headers)
        assert answer.status_code == 415


# --- paths ---------------------------------------------------------------------------------------------

WINE = "/v2/models/wine%20%7Bx%7D%20%C3%A9"


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/v2", 200, {"name": "runbake"}),
        ("/v2/health/live", 200, {"live": True}),
        ("/v2/health/ready", 200, {"ready": True}),
        (WINE, 200, {"name": "wine {x} é", "versions": ["3"], "platform": "mlflow_sklearn"}),
        (f"{WINE}/ready", 200, {"ready": True}),
        (f"{WINE}/versions/3", 200, {"name": "wine {x} é"}),
        (f"{WINE}/versions/3/ready", 200, {"ready": True}),
        (f"{WINE}/versions/4", 404, {"error": "the model in service is version '3'"}),
        (f"{WINE}/versions/4/ready", 404, {}),
        ("/v2/models/beer", 404, {"error": "the model in service is 'wine {x} é'"}),
        ("/v2/models/beer/ready", 404, {}),
        ("/v2/models/beer/versions/3", 404, {}),
        ("/v2/nothing", 404, {}),
    ],
)
def test_paths(path: str, status: int, part: dict[str, Any]) -> None:
    """The model answers under its name and version; any other is 404 with an `error`."""
    answer = answer_to(model_of(AB), "GET", path, provenance=LABELS)
    assert (answer.status_code, answer.json() | part) == (status, answer.json())
    assert ("error" in answer.json()) == (status != 200)


@pytest.mark.parametrize("path", [WINE, f"{WINE}/versions/3"])
def test_infer_paths(path: str) -> None:
    """A prediction is answered with and without the version in the path, and tells both."""
    body = {"inputs": [A1, B1]}
    answer = answer_to(model_of(AB), "POST", f"{path}/infer", json=body, provenance=LABELS).json()
    assert (answer["model_name"], answer["model_version"]) == ("wine {x} é", "3")
    for other in ("/v2/models/beer/infer", f"{WINE}/versions/4/infer"):
        assert answer_to(model_of(AB), "POST", other, json=body, provenance=LABELS).status_code == 404


def test_metadata() -> None:
    """The metadata name every tensor of the signature, in and out, with datatype and shape."""
    kinds = {"d": Scalar.DOUBLE, "t": Scalar.STRING, "m": Scalar.DATETIME, "l": Array(items=Scalar.LONG)}
    outputs = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("int64"), shape=(-1,)),))
    metadata = answer_to(model_of(columns(**kinds), outputs=outputs), "GET", "/v2/models/model").json()
    assert [tuple(one.values()) for one in metadata["inputs"]] == [
        ("d", "FP64", [-1, 1]),
        ("t", "BYTES", [-1, 1]),
        ("m", "BYTES", [-1, 1]),
        ("l", "INT64", [-1, -1]),
    ]
    assert metadata["outputs"] == [{"name": "predictions", "datatype": "INT64", "shape": [-1]}]
    assert metadata["versions"] == []


# --- hostile bodies ------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "a"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
INPUT = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "x"]) | JUNK,
        "datatype": st.sampled_from(list(DATATYPES)) | JUNK,
        "shape": st.lists(st.integers(0, 3) | st.just(2**62), max_size=3) | JUNK,
    },
    optional={"data": st.lists(JUNK, max_size=3) | JUNK, "parameters": JUNK},
)
MODELS = (
    model_of(None),
    model_of(AB, array_dtype="float64"),
    model_of(columns(a=Scalar.STRING, b=Scalar.DATETIME)),
    model_of(columns(a=Scalar.BINARY, b=Array(items=Scalar.STRING))),
    model_of(Tensors(tensors=(Tensor(name=None, dtype=np.dtype("str"), shape=(-1,)),)), params=PARAMS),
)


# pandas says when it must guess how a date is written; that its guess is taken is MLflow's rule.
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    st.lists(INPUT, max_size=3) | JUNK,
    st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), JUNK),
    st.binary(max_size=20),
    st.booleans(),
    st.sampled_from(MODELS),
)
def test_any_body_is_an_inference_or_a_refusal(
    inputs: Any, others: dict[str, Any], binary: bytes, has_binary: bool, model: Model
) -> None:
    """Any JSON with any bytes behind it is a question to the model or a refusal of the caller's."""
    text = json.dumps({"inputs": inputs, **others}).encode()
    try:
        question, _ = inference_of(text + binary * has_binary, str(len(text)) if has_binary else "", model)
        model.checked(question)
    except RequestError as error:
        assert error.status == 400  # noqa: PT017 -- most raise nothing at all


@pytest.mark.parametrize("length", ["-1", "x", "9" * 30, "²", "1000", "1"])
def test_json_length(length: str) -> None:
    """A length of the JSON part that is no length of it is refused."""
    with pytest.raises(InvalidRequest):
        inference_of(json.dumps({"inputs": [A1, B1]}).encode(), length, model_of(AB))
