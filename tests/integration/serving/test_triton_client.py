"""A client that we did not write speaks the Open Inference Protocol with the runtime, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

# It warns while it is imported, of parts of its own.
pytestmark = pytest.mark.filterwarnings("ignore")

from tritonclient.http import (  # noqa: E402
    InferenceServerClient,
    InferenceServerException,
    InferInput,
    InferRequestedOutput,
)

from runbake_serving.app import create_app  # noqa: E402
from runbake_serving.flavors.flavor import Loaded, Rules  # noqa: E402
from runbake_serving.http.refusals import raw_refusal  # noqa: E402
from runbake_serving.http.server import Patience, Server  # noqa: E402
from runbake_serving.label.provenance import provenance_of  # noqa: E402
from runbake_serving.model.model import Model  # noqa: E402
from runbake_serving.model.signature import (  # noqa: E402
    Column,
    Columns,
    Param,
    Scalar,
    Signature,
    Tensor,
    Tensors,
)
from runbake_serving.settings import Settings  # noqa: E402

DEADLINE_S = 30.0
LABELS = provenance_of(b'{"model": {"registeredName": "wine", "registeredVersion": 3}}', "test")
NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
           "float16", "float32", "float64")  # fmt: skip
TENSORS = Tensors(
    tensors=(
        *(Tensor(name=name, dtype=np.dtype(name), shape=(-1, 2)) for name in NUMBERS),
        Tensor(name="texts", dtype=np.dtype(object), shape=(-1, 2)),
    )
)
TABLE = Columns(
    columns=tuple(
        Column(name=name, type=kind, required=True)
        for name, kind in {"size": Scalar.DOUBLE, "city": Scalar.STRING}.items()
    )
)
FLOATS = Columns(columns=tuple(Column(name=name, type=Scalar.DOUBLE, required=True) for name in "abc"))
PARAMS = (Param(name="factor", type=Scalar.DOUBLE, default=1.0, listed=False),)


def echo(data: Any, _: Mapping[str, Any]) -> Any:
    """A model that answers what it was asked."""
    return data


def doubled(data: Any, params: Mapping[str, Any]) -> Any:
    """A model that answers the sum of each row, times a factor."""
    return np.asarray(data).sum(axis=1) * params["factor"]


def model_of(signature: Signature, predict: Any = echo, array_dtype: str | None = None) -> Model:
    """A model under this signature."""
    rules = Rules(rows_may_be_joined=True, array_dtype=array_dtype)
    return Model(signature=signature, loaded=Loaded(predict=predict, rules=rules), mlflow_version="3")


@contextmanager
def client_of(model: Model) -> Iterator[InferenceServerClient]:
    """The client of a server around this model, which runs in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    app, ready, stopped = create_app(Settings(), model, LABELS), threading.Event(), []

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stopped.append(lambda: loop.call_soon_threadsafe(stop.set))
        patience = Patience(slow_s=20, idle_s=20, grace_s=5, connections=100)
        async with app.router.lifespan_context(app):
            serving = asyncio.create_task(Server(app, [listener], patience, raw_refusal).serve_until(stop))
            loop.call_soon(ready.set)
            await serving

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(DEADLINE_S)
        client = InferenceServerClient(f"127.0.0.1:{listener.getsockname()[1]}", network_timeout=DEADLINE_S)
        with client:
            yield client
    finally:
        for stop in stopped:
            stop()  # type: ignore[no-untyped-call]
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def tensor(name: str, array: np.ndarray[Any, Any], *, binary: bool) -> InferInput:
    """An input as the client writes it."""
    datatypes = {"bool": "BOOL", "object": "BYTES"}
    kind = array.dtype.name
    datatype = datatypes.get(kind, kind.upper().replace("FLOAT", "FP"))
    one = InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """An array of each datatype, with its extreme values."""
    found: dict[str, np.ndarray[Any, Any]] = {
        "texts": np.array([["a", "žluťoučký"], ["", "\n"]], dtype=object)
    }
    for name in NUMBERS:
        dtype = np.dtype(name)
        if dtype.kind in "iu":
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        elif dtype.kind == "f":
            low, high = np.finfo(dtype).min, np.finfo(dtype).max
        else:
            low, high = False, True
        found[name] = np.array([[low, high], [0, 1]], dtype=dtype)
    return found


@pytest.mark.parametrize("out", [True, False], ids=["binary out", "json out"])
@pytest.mark.parametrize("into", [True, False], ids=["binary in", "json in"])
def test_every_datatype(into: bool, out: bool) -> None:
    """Every datatype comes back as it was sent, in binary and in JSON."""
    given = arrays()
    if not into:
        del given["float16"]  # the client refuses to write it as JSON
    signed = Tensors(tensors=tuple(one for one in TENSORS.tensors if one.name in given))
    with client_of(model_of(Signature(inputs=signed))) as client:
        answer = client.infer(
            "wine",
            [tensor(name, array, binary=into) for name, array in given.items()],
            outputs=[InferRequestedOutput(name, binary_data=out) for name in given],
            request_id="q1",
        )
        for name, array in given.items():
            got = answer.as_numpy(name)
            if name == "texts":
                texts = [text.decode() if isinstance(text, bytes) else text for text in got.reshape(-1)]
                assert texts == array.reshape(-1).tolist()
            else:
                assert (got.dtype, got.tolist()) == (array.dtype, array.tolist()), name
        response = answer.get_response()
        assert (response["id"], response["model_name"], response["model_version"]) == ("q1", "wine", "3")


def test_health_and_metadata() -> None:
    """The client finds the server alive, the model ready, and its tensors."""
    with client_of(model_of(Signature(inputs=TABLE, outputs=FLOATS))) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("wine")
        assert client.is_model_ready("wine", "3")
        assert not client.is_model_ready("wine", "4")
        assert not client.is_model_ready("beer")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("wine", "3")
        assert [one["name"] for one in metadata["inputs"]] == ["size", "city"]
        assert [one["datatype"] for one in metadata["inputs"]] == ["FP64", "BYTES"]
        assert metadata["versions"] == ["3"]
        with pytest.raises(InferenceServerException, match="the model in service is 'wine'"):
            client.get_model_metadata("beer")


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_a_table(coding: str | None) -> None:
    """A table goes in and out column by column, compressed or not."""
    sizes, cities = np.arange(500.0).reshape(-1, 1), np.array([f"c{n}" for n in range(500)], dtype=object)
    with client_of(model_of(Signature(inputs=TABLE))) as client:
        answer = client.infer(
            "wine",
            [tensor("city", cities, binary=True), tensor("size", sizes, binary=True)],
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        np.testing.assert_array_equal(answer.as_numpy("size"), sizes)
        assert answer.as_numpy("city").reshape(-1).tolist() == [city.encode() for city in cities]


@pytest.mark.parametrize("array_dtype", ["float64", None])
def test_one_tensor_and_parameters(array_dtype: str | None) -> None:
    """A table of numbers goes in as one tensor, with the model's parameters."""
    rows = np.arange(6.0).reshape(2, 3)
    model = model_of(Signature(inputs=FLOATS, params=PARAMS), doubled, array_dtype)
    with client_of(model) as client:
        answer = client.infer("wine", [tensor("rows", rows, binary=True)], parameters={"factor": 2.0})
        assert answer.as_numpy("predictions").tolist() == [6.0, 24.0]
        with pytest.raises(InferenceServerException, match="it takes 'factor'"):
            client.infer("wine", [tensor("rows", rows, binary=True)], parameters={"secret": 2.0})


def test_refusals() -> None:
    """What the client reports of a refusal is our reason; the next request is answered."""
    with client_of(model_of(Signature(inputs=FLOATS))) as client:
        narrow, rows = (tensor("rows", np.zeros((1, width)), binary=True) for width in (2, 3))
        with pytest.raises(InferenceServerException) as refused:
            client.infer("wine", [narrow])
        assert "it takes 'a', 'b', 'c'" in str(refused.value)
        assert refused.value.status() == "400"
        with pytest.raises(InferenceServerException, match="classification"):
            client.infer("wine", [rows], outputs=[InferRequestedOutput("a", class_count=1)])
        assert client.infer("wine", [rows]).as_numpy("a").tolist() == [[0.0]]
