"""Pages for people: the model at /, the API at /docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response

from runbake_serving.service import Service

_HOST = re.compile(r"[A-Za-z0-9.-]{1,200}(:[0-9]{1,5})?|\[[0-9a-fA-F:]{2,45}\](:[0-9]{1,5})?")
_HERE = "http://[here]"
"""Stands for our address in a page that is kept; in a command it is quoted, whatever takes its place."""


def add_page(app: FastAPI, service: Service) -> None:
    """Add / and /docs. What makes them is imported when the first is asked for: a start must be quick."""

    def model_values() -> Mapping[str, Any]:
        from runbake_serving.page.view import view_of

        return view_of(service, _HERE)

    def reference_values() -> Mapping[str, Any]:
        from runbake_serving.openapi.document import document_of
        from runbake_serving.page.reference import reference_of

        document = document_of(app, service.model, service.provenance)
        return reference_of(document, service.model, _HERE)

    kept_model = service.kept(partial(_made, "model.html", model_values))
    kept_reference = service.kept(partial(_made, "docs.html", reference_values))

    async def model_page(request: Request) -> Response:
        """What the model is, where it comes from, and a form to try it."""
        return _answer(await kept_model(request), request)

    async def reference(request: Request) -> Response:
        """The OpenAPI document as a page."""
        return _answer(await kept_reference(request), request)

    app.get("/")(model_page)
    app.get("/docs")(reference)


def _made(template: str, values: Callable[[], Mapping[str, Any]]) -> tuple[bytes, Mapping[str, str]]:
    from runbake_serving.page.render import headers_of_pages, page_of

    return page_of(template, values()), headers_of_pages()


def _answer(page: tuple[bytes, Mapping[str, str]], request: Request) -> Response:
    body, headers = page
    body = body.replace(_HERE.encode(), address_of(request).encode())
    return Response(body, headers=dict(headers), media_type="text/html; charset=utf-8")


def address_of(request: Request) -> str:
    """Where the caller reached us, as far as it says so in a form that can stand in a command."""
    host = request.headers.get("host", "")
    return f"http://{host}" if _HOST.fullmatch(host) else "http://localhost:8080"
