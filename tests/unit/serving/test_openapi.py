"""The OpenAPI document: valid, complete, and with an example that is answered."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from runbake_serving.app import create_app
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.label.provenance import provenance_of
from runbake_serving.model.model import Model
from runbake_serving.model.signature import Inputs, Signature
from runbake_serving.openapi.document import document_of
from runbake_serving.settings import Settings
from runbake_serving.typed.document import body_document
from runbake_serving.typed.example import example_of
from tests.unit.serving import signatures
from tests.unit.serving.test_app import LABELS, answer_to
from tests.unit.serving.test_typed import PEOPLE


def model_of(inputs: Inputs | None, outputs: Inputs | None = None, example: Any = None) -> Model:
    """A model with this signature that answers a number for each row."""
    return Model(
        signature=Signature(inputs=inputs, outputs=outputs),
        loaded=Loaded(predict=lambda data, params: np.zeros(len(data)), rules=Rules(rows_may_be_joined=True)),
        mlflow_version="3",
        example=json.dumps(example).encode() if example is not None else b"",
    )


def document(model: Model) -> Any:
    """The document as a caller gets it."""
    answer = answer_to(model, "GET", "/openapi.json")
    assert answer.status_code == 200, answer.text
    return answer.json()


@settings(max_examples=12, deadline=None)
@given(
    signatures.columns() | signatures.tensors() | st.none(),
    signatures.columns() | signatures.tensors() | st.none(),
)
def test_valid(inputs: Inputs | None, outputs: Inputs | None) -> None:
    """Over all signatures, the document is OpenAPI 3.1, and its example is what it asks for."""
    model = model_of(inputs, outputs)
    app = create_app(Settings(), model, LABELS)
    told = json.loads(json.dumps(document_of(app, model, LABELS)))
    OpenAPIV31SpecValidator(told).validate()
    if inputs is not None:
        content = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        Draft202012Validator(body_document(model.signature)).validate(content["example"])


def test_every_route_is_told() -> None:
    """Each route and method of the application is in the document with answers and headers, and no other."""
    model = model_of(PEOPLE)
    app = create_app(Settings(), model, LABELS)
    told = document_of(app, model, LABELS)["paths"]
    routes = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in app.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in set(route.methods or ()) - {"HEAD"}
    }
    assert {(path, method) for path, item in told.items() for method in item} == routes
    for path, method in routes:
        assert told[path][method]["tags"] != ["others"], f"{path} has no description"
        for answer in told[path][method]["responses"].values():
            assert "X-Request-Id" in answer["headers"]


def test_answers_are_as_described() -> None:
    """What /predict answers to the example fits the described predictions, and so does a refusal."""
    outputs = signatures.Tensors(
        tensors=(signatures.Tensor(name=None, dtype=np.dtype("float64"), shape=(-1,)),)
    )
    model = model_of(PEOPLE, outputs)
    told = document(model)
    schemas = {"$defs": told["components"]["schemas"]}
    resolved = json.loads(json.dumps(schemas).replace("#/components/schemas/", "#/$defs/"))
    example = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    for body, status, name in ((example, 200, "Predictions"), ({"rows": [{}]}, 422, "Problem")):
        answer = answer_to(model, "POST", "/predict", content=json.dumps(body))
        assert answer.status_code == status
        Draft202012Validator({**resolved, "$ref": f"#/$defs/{name}"}).validate(answer.json())
        described = told["paths"]["/predict"]["post"]["responses"][str(status)]
        assert answer.headers["content-type"] in described["content"]
        assert set(answer.headers) >= {"x-request-id", "x-runbake-run-id", "x-runbake-provenance-digest"}


@pytest.mark.parametrize(
    ("example", "rows"),
    [
        ({"dataframe_split": {"columns": ["a/b~c", "age in years", "x"], "data": [[1.5, 2, 3]] * 9}}, 2),
        ({"dataframe_records": [{"a/b~c": 1.5, "age in years": 2, "since": None}]}, 1),
        ({"inputs": {"a/b~c": [1.5, 3], "age in years": [2, 3]}}, 1),
    ],
)
def test_the_models_own_example(example: Any, rows: int) -> None:
    """The example that was logged with the model is shown in the typed form, few rows of it."""
    shown = example_of(model_of(PEOPLE, example=example))
    assert shown == {"rows": [{"age in years": 2, "a/b~c": 1.5}] * rows}


@pytest.mark.parametrize(
    "example", ["{", "[]", '{"inputs": 3}', '{"dataframe_split": {"columns": 3, "data": [[1]]}}']
)
def test_an_example_that_does_not_fit(example: str) -> None:
    """Then one is made from the signature."""
    model = model_of(PEOPLE)
    shown = example_of(
        Model(signature=model.signature, loaded=model.loaded, mlflow_version="", example=example.encode())
    )
    assert shown is not None
    assert set(shown["rows"][0]) == {column.name for column in PEOPLE.columns}


def test_hostile_names() -> None:
    """Names from MLflow are text in the document, whatever they hold."""
    hostile = '</script><script>alert(1)</script>{{7*7}}"\ud800'
    labels = provenance_of(json.dumps({"run": {"id": hostile}, "model": {"name": hostile}}).encode(), "test")
    told = document_of(create_app(Settings(), model_of(PEOPLE), labels), model_of(PEOPLE), labels)
    OpenAPIV31SpecValidator(told).validate()
    assert hostile[:-1] not in told["info"]["description"]
