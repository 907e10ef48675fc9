"""The typed protocol."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from runbake_serving.errors import SchemaMismatch, UnsupportedMedia
from runbake_serving.http.refusals import PROBLEM
from runbake_serving.protocols.encoding import answer_of, problem_of
from runbake_serving.protocols.media_type import media_type_of
from runbake_serving.service import JSON, Service
from runbake_serving.typed.body import TypedReader
from runbake_serving.typed.problems import BodyRefused, refusal_by_rules


def add_typed(app: FastAPI, service: Service) -> None:
    """Add /predict, where the model has a signature: there is nothing to type without one."""
    model = service.model
    if model.inputs is None:
        return
    reader = TypedReader(model, model.inputs)

    async def predict(request: Request) -> Response:
        """A prediction, by the names and types of the model's signature."""
        _check_content_type(request.headers.get("content-type"))
        try:
            body = await service.answer(request, read=reader.question, write=answer_of)
        except BodyRefused as error:
            return refusal(error, request)
        except SchemaMismatch as error:
            return refusal(refusal_by_rules(error, in_rows=reader.in_rows), request)
        return Response(body, media_type=JSON)

    app.post("/predict")(predict)


def refusal(error: BodyRefused, request: Request) -> Response:
    """422 with every fault there is."""
    body = problem_of(
        422,
        error.code,
        str(error),
        request_id=request.scope["state"]["request_id"],
        column=error.column,
        row=error.row,
        errors=error.errors(),
    )
    return Response(body, 422, media_type=PROBLEM)


def _check_content_type(header: str | None) -> None:
    media_type = media_type_of(header)
    if media_type.name != JSON or media_type.parameters.get("charset", "utf-8") not in ("utf-8", "utf8"):
        raise UnsupportedMedia("this route reads application/json in UTF-8")
