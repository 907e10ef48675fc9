"""The application: routes, headers and errors around one model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runbake_serving.contract import VERSION
from runbake_serving.errors import RequestError
from runbake_serving.http.direct import direct_routes
from runbake_serving.http.gate import Gate
from runbake_serving.http.refusals import bug_answer, refusal_of
from runbake_serving.http.stamped import Stamped
from runbake_serving.http.tracing import tracing
from runbake_serving.label.provenance import Provenance, headers_of
from runbake_serving.model.model import Model
from runbake_serving.prediction.predictor import Limits, Predictor
from runbake_serving.routes.health import add_health
from runbake_serving.routes.label_file import add_label_file
from runbake_serving.routes.metrics import add_metrics
from runbake_serving.routes.openapi import add_openapi
from runbake_serving.routes.page import add_page
from runbake_serving.routes.sagemaker import add_sagemaker
from runbake_serving.routes.scoring import add_scoring
from runbake_serving.routes.typed import add_typed
from runbake_serving.routes.v2 import add_v2
from runbake_serving.service import Service
from runbake_serving.settings import Settings


class Application(FastAPI):
    """FastAPI behind `Stamped`, which is asked first."""

    front: Stamped | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; or run the application's life."""
        if scope["type"] == "http" and self.front is not None:
            await self.front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings, model: Model, provenance: Provenance | None) -> FastAPI:
    """The application that answers for this model; everything it needs is finished and handed over."""
    service = service_of(settings, model, provenance)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        fresh = asyncio.create_task(metrics.keep_fresh())
        try:
            with tracing(service, metrics.route_of):
                yield
        finally:
            fresh.cancel()
            service.predictor.close()

    app = Application(
        title="runbake", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    add_health(app, service)
    add_scoring(app, service)
    add_sagemaker(app, service)
    add_v2(app, service)
    add_typed(app, service)
    add_openapi(app, service)
    if settings.page:
        add_page(app, service)
        if provenance is not None:
            add_label_file(app, provenance)
    metrics = add_metrics(app, service)
    _answer_head(app)
    _put_in_front(app, service)
    return app


def _answer_head(app: Application) -> None:
    """Load balancers ask so whether we live; the server leaves the body out."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


def _put_in_front(app: Application, service: Service) -> None:
    app.state.cut_off = False
    app.state.service = service

    def on_cancelled() -> None:
        app.state.cut_off = True

    add_refusals(app)
    app.front = Stamped(
        partial(FastAPI.__call__, app),
        direct=direct_routes(app),
        headers=headers_of(service.provenance, service.settings.image_digest),
        observers=service.observers,
        on_cancelled=on_cancelled,
    )


def add_refusals(app: FastAPI) -> None:
    """Answer every exception of a route that goes through FastAPI."""

    async def refused(request: Request, error: Exception) -> Response:
        return refusal_of(request, error) or bug_answer(request)

    for kind in (RequestError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, refused)


def service_of(settings: Settings, model: Model, provenance: Provenance | None) -> Service:
    """What the routes need, within the limits that are set."""
    limits = Limits(
        join_rows=settings.join_rows, join_bytes=settings.join_bytes, deadline_s=float(settings.deadline_s)
    )
    predictor = Predictor(model, threads=settings.threads, limits=limits)
    gate = Gate(
        requests=settings.queue,
        size_bytes=settings.queue_bytes,
        deadline_s=settings.deadline_s,
        backlog_s=predictor.backlog_s,
    )
    return Service(settings=settings, model=model, predictor=predictor, gate=gate, provenance=provenance)


def cut_off(app: FastAPI) -> bool:
    """A request was not answered, because it was not finished when the grace time was over."""
    return bool(app.state.cut_off)
