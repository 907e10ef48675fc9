"""The Open Inference Protocol (V2) over REST: what KServe, Triton's and MLServer's clients speak.

Paths of another model or version than the one in service are 404.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from runbake_serving.contract import VERSION
from runbake_serving.errors import UnknownName
from runbake_serving.label.provenance import Provenance
from runbake_serving.model.model import Question
from runbake_serving.protocols.compression import accepted_coding, coding_of, packed, unpacked
from runbake_serving.protocols.open_inference import Wanted, inference_of
from runbake_serving.protocols.open_inference_answers import Answer, Card, answer_of, metadata_of
from runbake_serving.service import JSON, Service, Unpacked

JSON_LENGTH = "Inference-Header-Content-Length"
_MODEL, _VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
_WORTH_PACKING = 1024


def card_of(provenance: Provenance | None) -> Card:
    """The model by its registered name, else by the run's name for it, else as `model`."""
    document = json.loads(provenance.body) if provenance is not None else {}
    section = document.get("model")
    model: dict[str, Any] = section if isinstance(section, dict) else {}
    version = model.get("registeredVersion")
    flavor = model.get("flavor")
    return Card(
        name=str(model.get("registeredName") or model.get("name") or "model"),
        version=str(version) if version not in (None, "") else None,
        platform=f"mlflow_{flavor}" if isinstance(flavor, str) and flavor else "mlflow",
    )


def add_v2(app: FastAPI, service: Service) -> None:
    """Add everything under /v2."""
    card, signature = card_of(service.provenance), service.model.signature
    metadata = metadata_of(card, signature.inputs, signature.outputs)

    def check(request: Request) -> None:
        asked = request.path_params
        if asked.get("name", card.name) != card.name:
            raise UnknownName(f"the model in service is {card.name!r}")
        if "version" in asked and asked["version"] != card.version:
            version = f"version {card.version!r}" if card.version is not None else "without a version"
            raise UnknownName(f"the model in service is {version}")

    async def server(_: Request) -> Response:
        """What this server is."""
        return _json({"name": "runbake", "version": VERSION, "extensions": ["binary_tensor_data"]})

    async def live(_: Request) -> Response:
        """The server runs."""
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        """The model is loaded."""
        return _json({"ready": True})

    async def model(request: Request) -> Response:
        """The model's tensors."""
        check(request)
        return _json(metadata)

    async def model_ready(request: Request) -> Response:
        """The model is loaded."""
        check(request)
        return _json({"name": card.name, "ready": True})

    async def infer(request: Request) -> Response:
        """A prediction."""
        check(request)
        return await _inferred(request, service, card)

    app.get("/v2")(server)
    app.get("/v2/health/live")(live)
    app.get("/v2/health/ready")(ready)
    if not set(card.name) & set("{}/"):
        # Named outright, the path that everybody asks needs no matching.
        app.post(_MODEL.format(name=card.name) + "/infer", include_in_schema=False)(infer)
    for path in (_MODEL, _VERSION):
        app.get(path)(model)
        app.get(f"{path}/ready")(model_ready)
        app.post(f"{path}/infer")(infer)


async def _inferred(request: Request, service: Service, card: Card) -> Response:
    headers = request.headers
    coding, back = coding_of(headers.get("content-encoding", "")), headers.get("accept-encoding", "")
    exchange = _Exchange(service, card, headers.get(JSON_LENGTH, ""), accepted_coding(back) if back else "")

    def unpack(body: bytes, limit_bytes: int) -> Unpacked:
        plain = unpacked(body, coding, limit_bytes)
        return Unpacked(plain, len(plain))

    body = await service.answer(
        request, read=exchange.read, write=exchange.write, unpack=unpack if coding else None
    )
    return Response(body, headers=exchange.headers)


class _Exchange:
    """One request and its answer: what the first wants, the second has to tell."""

    def __init__(self, service: Service, card: Card, json_length: str, coding: str) -> None:
        self._model, self._card = service.model, card
        self._json_length, self._coding = json_length, coding
        self._wanted = Wanted(id=None, outputs=None, binary=False)
        self.headers: dict[str, str] = {}

    def read(self, body: bytes) -> Question:
        """What is asked."""
        question, self._wanted = inference_of(body, self._json_length, self._model)
        return question

    def write(self, predictions: Any) -> bytes:
        """The body of the answer; then `headers` are known."""
        answer = answer_of(predictions, self._wanted, self._card, self._model.signature.outputs)
        self.headers = _headers(answer)
        if not self._coding or len(answer.body) < _WORTH_PACKING:
            return answer.body
        self.headers["Content-Encoding"] = self._coding
        return packed(answer.body, self._coding)


def _headers(answer: Answer) -> dict[str, str]:
    if answer.json_length is None:
        return {"Content-Type": JSON}
    return {"Content-Type": "application/octet-stream", JSON_LENGTH: str(answer.json_length)}


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document), media_type=JSON)
