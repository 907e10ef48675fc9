"""Spans for OpenTelemetry, where its variables ask for them and the image has its packages.

One span for each request, made when the answer is known: nothing is carried through the request for it. Its
parent is the caller's `traceparent`, whose decision to sample is followed. The exporter runs in a thread of
each worker, begun after the fork.

The image has the packages where the model's requirements name `opentelemetry-exporter-otlp-proto-http`.

Source: OpenTelemetry specification 1.50, "Environment Variable Specification"; semantic conventions of HTTP
spans 1.30; W3C Trace Context.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from runbake_serving.contract import VERSION
from runbake_serving.label.facts import facts_of
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.service import Service

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORTERS = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}
"""OTLP's protocols, as OTEL_EXPORTER_OTLP_PROTOCOL names them, and the module of each one's exporter."""
_LAST_FLUSH_S = 2.0
_MOST_NAMED = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Makes a span of each answer."""

    provider: TracerProvider
    route_of: Callable[[Scope], str]
    now_ns: Callable[[], int] = time.time_ns

    def observe_request(self, scope: Scope, status: int, seconds: float) -> None:
        """One answer was given."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        end_ns, route = self.now_ns(), self.route_of(scope)
        method = scope["method"] if scope["method"] in _MOST_NAMED else "_OTHER"
        state = scope["state"]
        span = self.provider.get_tracer("runbake_serving", VERSION).start_span(
            f"{method} {route}",
            context=_parent_of(state),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(seconds * 1e9),
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "network.protocol.version": scope.get("http_version", ""),
                "runbake.request_id": state["request_id"],
            },
        )
        if status >= 500 or not status:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_ns)

    def close(self) -> None:
        """Send what is left, within a short time: a collector that is gone must not hold the end up."""
        last = threading.Thread(target=self.provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_FLUSH_S)


@contextmanager
def tracing(service: Service, route_of: Callable[[Scope], str]) -> Iterator[None]:
    """Send spans of what this worker answers, where the settings say so."""
    spans = None
    if service.settings.tracing:
        facts = facts_of(service.provenance)
        resource = {
            "service.name": facts.name or "runbake",
            "service.version": facts.version,
            "runbake.run_id": facts.run_id,
        }
        spans = tracing_of(service.settings.tracing, resource, route_of)
    if spans is None:
        yield
        return
    service.observers.append(spans.observe_request)
    try:
        yield
    finally:
        spans.close()


def tracing_of(protocol: str, resource: dict[str, str], route_of: Callable[[Scope], str]) -> Tracing | None:
    """Spans by this protocol of OTLP; None, and a line in the log, where that cannot be.

    `resource` describes this server in every span; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first.
    """
    name = EXPORTERS.get(protocol)
    if name is None:
        LOGGER.warning("no spans are sent", extra={"fields": {"problem": "OTLP protocol not known"}})
        return None
    try:
        exporter: Any = import_module(name).OTLPSpanExporter()
        provider = _provider(exporter, resource)
    except ImportError as error:
        package = "-".join(name.split(".")[:-1])
        hint = f"add {package} to the model's requirements"
        LOGGER.warning("no spans are sent", extra={"fields": {"hint": hint, **cause_of(error)}})
        return None
    return Tracing(provider=provider, route_of=route_of)


def _provider(exporter: Any, resource: dict[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    told = Resource(dict(resource)).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=told, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _parent_of(state: dict[str, Any]) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: state[name] for name in ("traceparent", "tracestate") if name in state}
    return TraceContextTextMapPropagator().extract(carrier, Context())
