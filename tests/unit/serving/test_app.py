"""The application around any model: limits, headers, and errors that say nothing of the inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from runbake_serving.app import create_app
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.label.provenance import Provenance, provenance_of
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Signature
from runbake_serving.settings import Settings

JSON = {"content-type": "application/json"}
LABELS = provenance_of(b'{"run": {"id": "r1"}, "model": {"registeredVersion": 3}}', "test")


def rows(data: Any, params: Mapping[str, Any]) -> Any:
    """A model that answers the number of rows."""
    del params
    return [len(data)]


def model_of(predict: Any = rows, version: Any = "3.17.2") -> Model:
    """A model without a signature that refuses by ValueError."""
    rules = Rules(rows_may_be_joined=True, refusals=(ValueError,))
    loaded = Loaded(predict=predict, rules=rules)
    return Model(signature=Signature(), loaded=loaded, mlflow_version=version)


def answer_to(
    model: Model,
    method: str,
    path: str,
    *,
    content: Any = None,
    settings: Settings | None = None,
    provenance: Provenance | None = LABELS,
) -> httpx.Response:
    """One answer of an application around this model."""

    async def ask() -> httpx.Response:
        app = create_app(settings or Settings(), model, provenance)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=JSON)

    return asyncio.run(ask())


async def in_parts(*parts: bytes) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    for part in parts:
        yield part


def test_body_limit() -> None:
    """A body up to the limit is read, a larger one is 413, with and without a declared length."""
    body = b'{"inputs": [1, 2, 3]}'
    small = Settings(body_limit_bytes=len(body))
    assert answer_to(model_of(), "POST", "/invocations", content=body, settings=small).json() == {
        "predictions": [3]
    }
    for content in (body + b" ", in_parts(body, b" ")):
        answer = answer_to(model_of(), "POST", "/invocations", content=content, settings=small)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "BAD_REQUEST")


def test_large_bodies_are_answered_too() -> None:
    """A body that is parsed beside the event loop gets the same answer and the same refusals."""
    body = b'{"inputs": [' + b",".join([b"1"] * 50_000) + b"]}"
    assert answer_to(model_of(), "POST", "/invocations", content=body).json() == {"predictions": [50_000]}
    assert answer_to(model_of(), "POST", "/invocations", content=body + b"!").status_code == 400


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ValueError("secret"), 400, "BAD_REQUEST"), (KeyError("secret"), 500, "INTERNAL_ERROR")],
)
def test_what_the_model_raises(error: Exception, status: int, code: str) -> None:
    """A refusal of the values is the caller's fault, anything else ours; the message is told to nobody."""

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        raise error

    answer = answer_to(model_of(predict), "POST", "/invocations", content=b'{"inputs": [1]}')
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_bug_of_ours_is_500_in_the_same_form() -> None:
    """Even where our own code fails, the answer has the form of an error and every header."""
    answer = answer_to(model_of(version=object()), "GET", "/version")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers["x-runbake-run-id"] == "r1"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_bug_on_the_way_through_fastapi_is_logged_under_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """A route with a parameter in its path has the same answer, and one line of the log names the request."""
    app = create_app(Settings(), model_of(), LABELS)

    @app.get("/sick/{name}")
    async def sick(name: str) -> None:
        raise KeyError(name)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/sick/secret")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    (line,) = [record.__dict__["fields"] for record in caplog.records if record.message == "bug"]
    assert (line["request"], line["exception"]) == (answer.json()["request_id"], "KeyError")
    assert "secret" not in str(line)


def test_headers_on_every_answer() -> None:
    """Run, version and digest are on predictions, health, errors and unknown paths alike; once each."""
    for method, path, content in (
        ("POST", "/invocations", b'{"inputs": [1]}'),
        ("POST", "/invocations", b"{"),
        ("GET", "/ping", None),
        ("GET", "/nowhere", None),
        ("DELETE", "/ping", None),
    ):
        headers = answer_to(model_of(), method, path, content=content).headers
        assert headers.get_list("x-runbake-run-id") == ["r1"]
        assert headers.get_list("x-runbake-model-version") == ["3"]
        assert headers["x-runbake-provenance-digest"].startswith("sha256:")


def test_outside_an_image() -> None:
    """Without a label file there is no /provenance and none of its headers."""
    answer = answer_to(model_of(), "GET", "/provenance", provenance=None)
    assert answer.status_code == 404
    assert not [name for name in answer.headers if name.startswith("x-runbake")]
