"""The application: routes, headers and errors around one model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from runbake_serving.contract import VERSION
from runbake_serving.gate import Gate
from runbake_serving.model import Model
from runbake_serving.predictor import Limits, Predictor
from runbake_serving.provenance import Provenance
from runbake_serving.refusals import add_refusals
from runbake_serving.routes.health import add_health
from runbake_serving.routes.label_file import add_label_file
from runbake_serving.routes.scoring import add_scoring
from runbake_serving.service import Service
from runbake_serving.settings import Settings
from runbake_serving.stamped import Stamped


def create_app(settings: Settings, model: Model, provenance: Provenance | None) -> FastAPI:
    """The application that answers for this model; everything it needs is finished and handed over."""
    service = service_of(settings, model, provenance)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.predictor.close()

    app = FastAPI(
        title="runbake", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    add_health(app, service)
    add_scoring(app, service)
    if settings.page and provenance is not None:
        add_label_file(app, provenance)
    headers = provenance.headers if provenance is not None else ()
    app.state.cut_off = False
    app.add_middleware(Stamped, headers=headers)
    add_refusals(app, headers)
    return app


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
