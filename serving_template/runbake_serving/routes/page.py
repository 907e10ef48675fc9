"""Pages for people: the model at /, the API at /docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response

from runbake_serving.service import Service

_HOST = re.compile(r"[A-Za-z0-9.-]{1,200}(:[0-9]{1,5})?|\[[0-9a-fA-F:]{2,45}\](:[0-9]{1,5})?")


def add_page(app: FastAPI, service: Service) -> None:
    """Add / and /docs. What makes them is imported when the first is asked for: a start must be quick."""

    async def model_page(request: Request) -> Response:
        """What the model is, where it comes from, and a form to try it."""

        def values(address: str) -> Mapping[str, Any]:
            from runbake_serving.page.view import view_of

            return view_of(service, address)

        return await _page(service, request, "model.html", values)

    async def reference(request: Request) -> Response:
        """The OpenAPI document as a page."""

        def values(address: str) -> Mapping[str, Any]:
            from runbake_serving.openapi.document import document_of
            from runbake_serving.page.reference import reference_of

            document = document_of(app, service.model, service.provenance)
            return reference_of(document, service.model, address)

        return await _page(service, request, "docs.html", values)

    app.get("/")(model_page)
    app.get("/docs")(reference)


async def _page(
    service: Service, request: Request, template: str, values: Callable[[str], Mapping[str, Any]]
) -> Response:
    address = address_of(request)

    def made() -> tuple[bytes, Mapping[str, str]]:
        from runbake_serving.page.render import headers_of_pages, page_of

        return page_of(template, values(address)), headers_of_pages()

    body, headers = await service.predictor.aside(made, request.scope["state"]["request_id"])
    return Response(body, headers=dict(headers), media_type="text/html; charset=utf-8")


def address_of(request: Request) -> str:
    """Where the caller reached us, as far as it says so in a form that can stand in a command."""
    host = request.headers.get("host", "")
    return f"http://{host}" if _HOST.fullmatch(host) else "http://localhost:8080"
