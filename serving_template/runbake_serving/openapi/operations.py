"""What each route of ours does, as OpenAPI operations by path and method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from runbake_serving.model.model import Model
from runbake_serving.openapi.answers import HEADERS, Schema
from runbake_serving.typed.example import example_of

PROBLEMS = "application/problem+json"
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_BINARY = ("application/vnd.apache.arrow.stream", "application/vnd.apache.parquet")
_LINES = ("application/jsonlines", "application/x-ndjson")
_REFUSALS: Mapping[int, str] = {
    400: "The body cannot be read, does not fit the signature, or the model refuses the values.",
    406: "The answer has no form that is accepted.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The content type is not read here.",
    422: "The body is not what the signature asks for; `errors` has every fault with its place.",
    500: "The model failed; the log tells why under the request's id.",
    503: "Too much is waiting: ask again after `Retry-After` seconds.",
    504: "There was no answer in time.",
}


def operation(
    summary: str,
    tag: str,
    *,
    answer: Schema | None = None,
    media_type: str = "application/json",
    body: Schema | None = None,
    refusals: tuple[int, ...] = (),
    parameters: tuple[Schema, ...] = (),
) -> Schema:
    """One operation with its answers; `answer` is a schema or `content`, `body` is `content`."""
    content = (
        answer
        if answer is not None and "/" in next(iter(answer), "")
        else {media_type: {"schema": answer or {}}}
    )
    told: Schema = {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer.", "headers": _headers(), "content": content},
            **{str(status): _refusal(status) for status in refusals},
            "default": _refusal(None),
        },
    }
    if body is not None:
        told["requestBody"] = {"required": True, "content": body}
    if parameters:
        told["parameters"] = list(parameters)
    return told


def _headers() -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}


def _refusal(status: int | None) -> Schema:
    headers = _headers()
    if status == 503:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    return {
        "description": _REFUSALS.get(status or 0, "Anything else that went wrong."),
        "headers": headers,
        "content": {PROBLEMS: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


# --- predictions ---------------------------------------------------------------------------------------

_ASKING = (400, 408, 413, 415, 500, 503, 504)


def predict(model: Model) -> Schema:
    """POST /predict."""
    content: Schema = {"schema": {"$ref": "#/components/schemas/TypedRequest"}}
    if (example := example_of(model)) is not None:
        content["example"] = example
    told = operation(
        "Predict, by the names and types of the model's signature",
        "predictions",
        answer={"$ref": "#/components/schemas/Predictions"},
        body={"application/json": content},
        refusals=tuple(sorted((*_ASKING, 422))),
    )
    told["operationId"] = "predict"
    return told


def invocations(model: Model) -> Schema:
    """POST /invocations."""
    content: Schema = {"schema": {"$ref": "#/components/schemas/ScoringRequest"}}
    if (example := _parsed(model.example)) is not None:
        content["example"] = example
    body: Schema = {"application/json": content, "text/csv": {"schema": {"type": "string"}}}
    body |= {name: {"schema": {"type": "string"}} for name in _LINES}
    body |= {name: {"schema": {"type": "string", "format": "binary"}} for name in _BINARY}
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/Predictions"}}}
    answer |= {name: {"schema": {"type": "string"}} for name in (*_LINES, "text/csv")}
    answer[_BINARY[0]] = {"schema": {"type": "string", "format": "binary"}}
    told = operation(
        "Predict, by MLflow's scoring protocol",
        "predictions",
        answer=answer,
        body=body,
        refusals=tuple(sorted((*_ASKING, 406))),
    )
    told["operationId"] = "invocations"
    return told


def scoring_schema() -> Schema:
    """A JSON body of /invocations."""
    split = {
        "type": "object",
        "required": ["data"],
        "properties": {"columns": {"type": "array"}, "index": {"type": "array"}, "data": {}},
        "additionalProperties": False,
    }
    values: dict[str, Schema] = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "items": {"type": "object"}},
        "instances": {},
        "inputs": {},
    }
    return {
        "type": "object",
        "description": "Exactly one of the four forms, and maybe params.",
        "properties": {**values, "params": {"type": "object"}},
        "oneOf": [{"required": [name]} for name in _FORMS],
    }


def _parsed(example: bytes) -> Any:
    try:
        return orjson.loads(example)
    except orjson.JSONDecodeError:
        return None


# --- the others ----------------------------------------------------------------------------------------

_TEXT = {"type": "string"}


def others() -> dict[tuple[str, str], Schema]:
    """By path and method, the operations that do not depend on the model."""
    return {
        ("/ping", "get"): operation("Is the model loaded?", "health", answer=_TEXT),
        ("/health", "get"): operation("Is the model loaded?", "health", answer=_TEXT),
        ("/version", "get"): operation(
            "The MLflow version that wrote the model", "health", answer=_TEXT, media_type="text/plain"
        ),
        ("/provenance", "get"): operation(
            "The label file: where the model comes from", "provenance", answer={"type": "object"}
        ),
        ("/metrics", "get"): operation(
            "Figures of all workers",
            "health",
            answer={
                "text/plain": {"schema": _TEXT},
                "application/openmetrics-text": {"schema": _TEXT},
            },
        ),
        ("/", "get"): operation("The model page", "pages", answer=_TEXT, media_type="text/html"),
        ("/docs", "get"): operation("This document as a page", "pages", answer=_TEXT, media_type="text/html"),
        ("/openapi.json", "get"): operation("This document", "pages", answer={"type": "object"}),
        ("/execution-parameters", "get"): operation(
            "How SageMaker's batch transform should ask", "health", answer={"type": "object"}
        ),
    }
