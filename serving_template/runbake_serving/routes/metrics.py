"""Figures for Prometheus."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute

from runbake_serving.contract import HEADER_IMAGE, HEADER_PROVENANCE, VERSION
from runbake_serving.label.facts import facts_of
from runbake_serving.label.provenance import headers_of
from runbake_serving.metrics.exposition import OPENMETRICS, TEXT, Labels, text_of, wants_openmetrics
from runbake_serving.metrics.metrics import Metrics
from runbake_serving.service import Service

_LABEL_LIMIT = 200


def add_metrics(app: FastAPI, service: Service) -> Metrics:
    """Add /metrics, and count from now on; to be added last, since it counts by the routes there are."""

    async def metrics(request: Request) -> Response:
        """Figures of all workers, as Prometheus reads them."""
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        body = text_of(counted.families(), openmetrics=openmetrics)
        return Response(body, headers={"content-type": OPENMETRICS if openmetrics else TEXT})

    app.get("/metrics")(metrics)
    counted = Metrics(
        (route.path for route in app.routes if isinstance(route, APIRoute)),
        info_of(service),
        lambda: (
            service.gate.requests,
            service.predictor.depth.requests,
            service.predictor.depth.rows,
            service.gate.size_bytes,
        ),
    )
    service.observers.append(counted.observe_request)
    service.predictor.observers.append(counted.observe_call)
    return counted


def info_of(service: Service) -> Labels:
    """The labels of the model's information, cut to a length that a database of metrics can bear."""
    facts = facts_of(service.provenance)
    headers = dict(headers_of(service.provenance, service.settings.image_digest))
    values = {
        "run_id": facts.run_id,
        "model": facts.name,
        "version": facts.version,
        "flavor": facts.flavor,
        "provenance_digest": headers.get(HEADER_PROVENANCE, ""),
        "image_digest": headers.get(HEADER_IMAGE, ""),
        "runtime": VERSION,
    }
    return tuple((name, value[:_LABEL_LIMIT]) for name, value in values.items())
