"""The OpenAPI document laid out for people: what the template of /docs shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbake_serving.contract import VERSION
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Columns
from runbake_serving.page.view import lines_of

_SCHEMA_LIMIT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `answers` are status, description and content types."""

    path: str
    method: str
    summary: str
    reads: tuple[str, ...]
    properties: list[tuple[str, str, bool]]
    curl: str
    answers: tuple[tuple[str, str, tuple[str, ...]], ...]
    schema: str


def reference_of(document: Mapping[str, Any], model: Model, address: str) -> Mapping[str, Any]:
    """Everything that the template needs."""
    tags: dict[str, list[Operation]] = {}
    for tag, operation in _operations(document, model, address):
        tags.setdefault(tag, []).append(operation)
    return {
        "title": document["info"]["title"],
        "version": document["openapi"],
        "runtime": VERSION,
        "tags": sorted(tags.items(), key=lambda item: item[0] != "predictions"),
    }


def _operations(document: Mapping[str, Any], model: Model, address: str) -> Iterator[tuple[str, Operation]]:
    for path, item in document["paths"].items():
        for method, told in item.items():
            content = told.get("requestBody", {}).get("content", {})
            typed = path == "/predict"
            columns = model.inputs if typed and isinstance(model.inputs, Columns) else None
            yield (
                told["tags"][0],
                Operation(
                    path=path,
                    method=method,
                    summary=told["summary"],
                    reads=tuple(content),
                    properties=lines_of(columns),
                    curl=_curl(f"{address}{path}", content.get("application/json", {}).get("example")),
                    answers=tuple(
                        (status, answer["description"], tuple(answer.get("content", {})))
                        for status, answer in told["responses"].items()
                    ),
                    schema=_schema(document) if typed else "",
                ),
            )


def _schema(document: Mapping[str, Any]) -> str:
    schema = document["components"]["schemas"].get("TypedRequest", {})
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    return text if len(text) <= _SCHEMA_LIMIT else ""


def _curl(url: str, example: Any) -> str:
    if example is None:
        return ""
    body = json.dumps(example, ensure_ascii=False)
    return (
        f"curl {shlex.quote(url)} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
        if len(body) <= _SCHEMA_LIMIT
        else ""
    )
