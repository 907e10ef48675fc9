"""The OpenAPI document."""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Request, Response

from runbake_serving.service import JSON, Service


def add_openapi(app: FastAPI, service: Service) -> None:
    """Add /openapi.json: made when it is first asked for, from the routes that the application has then."""

    def document() -> bytes:
        # Imported here: hardly a caller asks for it, and a start must be quick.
        from runbake_serving.openapi.document import document_of

        return orjson.dumps(document_of(app, service.model, service.provenance))

    kept = service.kept(document)

    async def openapi(request: Request) -> Response:
        """This document."""
        return Response(await kept(request), media_type=JSON)

    app.get("/openapi.json")(openapi)
