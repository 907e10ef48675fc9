"""MLflow's scoring protocol."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from runbake_serving.encoding import answer_of
from runbake_serving.protocols.media_type import media_type_of
from runbake_serving.protocols.mlflow_scoring import question_of
from runbake_serving.service import JSON, Service


def add_scoring(app: FastAPI, service: Service) -> None:
    """Add /invocations."""
    model = service.model

    async def invocations(request: Request) -> Response:
        """A prediction, by MLflow's scoring protocol."""
        media_type = media_type_of(request.headers.get("content-type"))
        body = await service.answer(
            request, read=lambda body: question_of(body, media_type, model), write=answer_of
        )
        return Response(body, media_type=JSON)

    app.post("/invocations")(invocations)
