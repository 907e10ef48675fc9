"""The whole document, from the routes that the application has.

A route that `operations` does not know is told by its docstring, so that none is missing.

Source: OpenAPI 3.1.0.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from runbake_serving.contract import VERSION
from runbake_serving.label.facts import facts_of
from runbake_serving.label.provenance import Provenance
from runbake_serving.model.model import Model
from runbake_serving.openapi import v2
from runbake_serving.openapi.answers import FAULT, HEADERS, PROBLEM, Schema, predictions_schema
from runbake_serving.openapi.operations import invocations, operation, others, predict, scoring_schema
from runbake_serving.protocols.open_inference_answers import Card
from runbake_serving.routes.v2 import card_of
from runbake_serving.typed.document import body_document

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


def document_of(app: FastAPI, model: Model, provenance: Provenance | None) -> Schema:
    """The OpenAPI document of this application around this model."""
    facts = facts_of(provenance)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": facts.name or "A model served by runbake",
            "version": facts.version or "0",
            "description": "An MLflow model as a service."
            + (f" It comes from run `{facts.run_id}`." if facts.run_id.isalnum() else ""),
            "x-runbake": VERSION,
        },
        "paths": _paths(app, model, card_of(provenance)),
        "components": {"schemas": _schemas(model), "headers": HEADERS},
    }


def _schemas(model: Model) -> Schema:
    schemas = {
        "Predictions": predictions_schema(model.signature.outputs),
        "ScoringRequest": scoring_schema(),
        "Problem": PROBLEM,
        "Fault": FAULT,
        **v2.schemas(),
    }
    if model.inputs is not None:
        schemas["TypedRequest"] = body_document(model.signature)
    return schemas


def _paths(app: FastAPI, model: Model, card: Card) -> Schema:
    known = {
        **others(),
        **v2.operations(),
        ("/invocations", "post"): invocations(model),
        **({("/predict", "post"): predict(model)} if model.inputs is not None else {}),
    }
    paths: dict[str, Any] = {}
    for route in _routes(app):
        path = _PARAMETER.sub(r"{\1}", route.path)
        for method in sorted(name.lower() for name in set(route.methods or ()) - {"HEAD"}):
            told = known.get((path, method)) or operation(_summary(route), "others")
            parameters = [_path_parameter(name, card) for name in _PARAMETER.findall(route.path)]
            paths.setdefault(path, {})[method] = {
                **told,
                **({"parameters": parameters} if parameters else {}),
            }
    return paths


def _routes(app: FastAPI) -> Iterable[APIRoute]:
    return (route for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema)


def _summary(route: APIRoute) -> str:
    return (inspect.getdoc(route.endpoint) or route.path).splitlines()[0]


def _path_parameter(name: str, card: Card) -> Schema:
    known = {"name": card.name, "version": card.version}.get(name)
    schema: Schema = {"type": "string", **({"enum": [known]} if known else {})}
    return {"name": name, "in": "path", "required": True, "schema": schema}
