"""The typed protocol as JSON Schema, made from the very schema that judges bodies.

Source: JSON Schema draft 2020-12, as OpenAPI 3.1 has it.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from runbake_serving.model.signature import Signature
from runbake_serving.typed.schema import body_schema


class _Plain(GenerateJsonSchema):
    """Names as they are: no titles made of them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        del schema
        return False


def json_schema(schema: CoreSchema) -> dict[str, Any]:
    """This schema as JSON Schema."""
    return _Plain().generate(schema)


def body_document(signature: Signature) -> dict[str, Any]:
    """What a body of /predict must be.

    Raises:
        ValueError: the model has no signature.
    """
    schema = body_schema(signature)
    if schema is None:
        raise ValueError("the model has no signature")
    return json_schema(schema)
