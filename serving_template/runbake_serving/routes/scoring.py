"""MLflow's scoring protocol, which is SageMaker's too."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from runbake_serving.protocols.answers import form_of
from runbake_serving.protocols.compression import coding_of
from runbake_serving.protocols.media_type import media_type_of
from runbake_serving.protocols.mlflow_scoring import reader_of
from runbake_serving.service import Service


def add_scoring(app: FastAPI, service: Service) -> None:
    """Add /invocations."""
    model = service.model

    async def invocations(request: Request) -> Response:
        """A prediction, by MLflow's scoring protocol."""
        headers = request.headers
        media_type = media_type_of(headers.get("content-type"))
        coding = coding_of(headers.get("content-encoding", ""))
        reader = reader_of(media_type, model, coding=coding)
        form = form_of(headers.get("accept", ""))
        body = await service.answer(
            request, read=reader.read, write=form.write, unpack=reader.unpack, at_once=reader.at_once
        )
        return Response(body, media_type=form.media_type)

    app.post("/invocations")(invocations)
