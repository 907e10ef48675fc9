"""The Open Inference Protocol's operations and schemas.

Source: Open Inference Protocol, V2, REST (`open_inference_rest.yaml`).
"""

from __future__ import annotations

from runbake_serving.openapi.answers import Schema
from runbake_serving.openapi.operations import operation

_ASKING = (400, 404, 408, 413, 415, 500, 503, 504)
_NAME: Schema = {"type": "string"}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer"}}


def operations() -> dict[tuple[str, str], Schema]:
    """By path and method; the same with and without a version in the path."""
    told = {
        ("/v2", "get"): _told("The server's name, version and extensions", "V2Server"),
        ("/v2/health/live", "get"): _told("Is the server running?"),
        ("/v2/health/ready", "get"): _told("Is the model loaded?"),
    }
    for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        told[model, "get"] = _told("The model's inputs and outputs", "V2Model", refusals=(404,))
        told[f"{model}/ready", "get"] = _told("Is this model loaded?", refusals=(404,))
        told[f"{model}/infer", "post"] = operation(
            "Predict, by the Open Inference Protocol",
            "open inference protocol",
            answer={
                "application/json": {"schema": {"$ref": "#/components/schemas/V2Answer"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
            body={
                "application/json": {"schema": {"$ref": "#/components/schemas/V2Request"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
            refusals=_ASKING,
        )
    return told


def schemas() -> dict[str, Schema]:
    """What the operations refer to."""
    tensor = {"name": _NAME, "datatype": _NAME, "shape": _SHAPE}
    parameters: Schema = {"type": "object"}
    described: Schema = {"type": "object", "properties": tensor, "required": [*tensor]}
    return {
        "V2Server": _object({"name": _NAME, "version": _NAME}, extensions={"type": "array", "items": _NAME}),
        "V2Model": _object(
            {"name": _NAME},
            versions={"type": "array", "items": _NAME},
            platform=_NAME,
            inputs={"type": "array", "items": described},
            outputs={"type": "array", "items": described},
        ),
        "V2Tensor": _object({**tensor}, data={}, parameters=parameters),
        "V2Request": _object(
            {"inputs": {"type": "array", "items": {"$ref": "#/components/schemas/V2Tensor"}}},
            id=_NAME,
            parameters=parameters,
            outputs={"type": "array", "items": _object({"name": _NAME}, parameters=parameters)},
        ),
        "V2Answer": _object(
            {"outputs": {"type": "array", "items": {"$ref": "#/components/schemas/V2Tensor"}}},
            id=_NAME,
            model_name=_NAME,
            model_version=_NAME,
            parameters=parameters,
        ),
    }


def _told(summary: str, schema: str = "", refusals: tuple[int, ...] = ()) -> Schema:
    answer: Schema = {"$ref": f"#/components/schemas/{schema}"} if schema else {}
    return operation(summary, "open inference protocol", answer=answer, refusals=refusals)


def _object(required: dict[str, Schema], **others: Schema) -> Schema:
    return {"type": "object", "required": [*required], "properties": {**required, **others}}
