"""What the model page shows, as plain values; the templates only lay it out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbake_serving.contract import HEADER_PROVENANCE, VERSION
from runbake_serving.label.facts import Facts, Pairs, facts_of
from runbake_serving.model.signature import (
    Anything,
    Array,
    Columns,
    Inputs,
    Map,
    Object,
    Scalar,
    Type,
)
from runbake_serving.page.links import commit_link, run_link, web_address
from runbake_serving.service import Service
from runbake_serving.typed.example import example_of
from runbake_serving.typed.schema import may_be_null

MOST_FIELDS = 60
"""A wider table is edited as JSON."""
_INPUTS = {
    Scalar.BOOLEAN: "boolean",
    Scalar.INTEGER: "whole",
    Scalar.LONG: "whole",
    Scalar.FLOAT: "number",
    Scalar.DOUBLE: "number",
    Scalar.STRING: "text",
    Scalar.BINARY: "text",
    Scalar.DATETIME: "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column in the form. `kind` says which control it is, `value` what stands in it."""

    name: str
    kind: str
    type: str
    required: bool
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stop on the way from the data to the answer."""

    title: str
    text: str = ""
    code: str = ""
    link: str = ""


def view_of(service: Service, address: str) -> Mapping[str, Any]:
    """Everything that the template of the model page needs; `address` is where callers reach the server."""
    model, facts = service.model, facts_of(service.provenance)
    example = example_of(model)
    inputs, outputs = model.inputs, model.signature.outputs
    return {
        "facts": facts,
        "title": facts.name or "Model",
        "runtime": VERSION,
        "mlflow": facts.mlflow_version or model.mlflow_version,
        "run_link": run_link(facts, service.settings.tracking_url),
        "inputs": lines_of(inputs),
        "outputs": lines_of(outputs),
        "params": [
            (param.name, type_text(param.type, listed=param.listed), _json(param.default))
            for param in model.signature.params or ()
        ],
        "fields": fields_of(inputs, example),
        "example": _json(example, indent=2) if example is not None else "",
        "curl": curl_of(address, example) if example is not None else "",
        "address": address,
        "steps": steps_of(service, facts),
        "data": [(one, web_address(one.source)) for one in facts.datasets],
        "quick": service.model.rules.array_dtype or "",
        "joined": service.model.rules.rows_may_be_joined,
    }


def lines_of(part: Inputs | None) -> list[tuple[str, str, bool]]:
    """Name, type and whether it is needed, of each column or tensor."""
    if part is None:
        return []
    if isinstance(part, Columns):
        return [
            (_name(column.name, place), type_text(column.type), column.required)
            for place, column in enumerate(part.columns)
        ]
    return [
        (_name(tensor.name, place), f"{tensor.dtype}{_shape(tensor.shape)}", True)
        for place, tensor in enumerate(part.tensors)
    ]


def type_text(type_: Type, *, listed: bool = False) -> str:
    """A type in a few words."""
    match type_:
        case Scalar():
            text = type_.value
        case Array():
            text = f"list of {type_text(type_.items)}"
        case Map():
            text = f"map to {type_text(type_.values)}"
        case Object():
            text = f"object with {', '.join(part.name for part in type_.properties)}"
        case Anything():
            text = "anything"
    return f"list of {text}" if listed else text


def fields_of(inputs: Inputs | None, example: Mapping[str, Any] | None) -> list[Field]:
    """The form's fields for one row; none where the body is better edited as a whole."""
    if not isinstance(inputs, Columns) or not inputs.named or len(inputs.columns) > MOST_FIELDS:
        return []
    row = example["rows"][0] if example else {}
    return [
        Field(
            name=str(name),
            kind=_INPUTS.get(column.type, "json") if isinstance(column.type, Scalar) else "json",
            type=type_text(column.type)
            + ("" if column.required else ", may be " + ("empty" if may_be_null(column) else "left out")),
            required=column.required,
            value=_shown(row.get(str(name)), column.type),
        )
        for name, column in inputs.by_name.items()
    ]


def curl_of(address: str, example: Mapping[str, Any]) -> str:
    """The command that asks for a prediction from a shell."""
    return (
        f"curl {shlex.quote(f'{address}/predict')} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(_json(example))}"
    )


def steps_of(service: Service, facts: Facts) -> list[Step]:
    """The chain: code and data, run, model, environment, label file, image."""
    settings = service.settings
    headers = dict(service.provenance.headers) if service.provenance is not None else {}
    source, commit = facts.source, facts.source.get("mlflow.source.git.commit", "")
    steps = [
        Step(title="Code", text=source.get("mlflow.source.name", ""), code=commit, link=commit_link(facts)),
        *(
            Step(
                title="Data", text=f"{one.name} ({one.context})" if one.context else one.name, code=one.digest
            )
            for one in facts.datasets[:5]
        ),
        Step(
            title="Run", text=facts.run_name, code=facts.run_id, link=run_link(facts, settings.tracking_url)
        ),
        Step(title="Model", text=" ".join(filter(None, (facts.name, facts.version))), code=facts.model_id),
        Step(
            title="Lock",
            text=f"{len(facts.packages)} packages" if facts.packages else "",
            code=facts.lock_digest,
        ),
        Step(
            title="Base",
            text=" ".join(filter(None, ("Python", facts.python, facts.platform))) if facts.python else "",
            code=facts.base_digest,
        ),
        Step(
            title="Label file",
            text="provenance" if service.provenance else "",
            code=headers.get(HEADER_PROVENANCE, ""),
            link="provenance" if service.provenance else "",
        ),
        Step(
            title="Image",
            text="its digest is known where it was started"
            if service.provenance and not settings.image_digest
            else "",
            code=settings.image_digest,
        ),
    ]
    return [step for step in steps if step.code or step.text]


def _shown(value: Any, type_: Type) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and isinstance(type_, Scalar) else _json(value)


def _name(name: Any, place: int) -> str:
    return str(name) if name is not None else f"({place})"


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("any" if length < 0 else str(length) for length in shape) + "]"


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


__all__ = ["Field", "Pairs", "Step", "curl_of", "fields_of", "lines_of", "steps_of", "type_text", "view_of"]
