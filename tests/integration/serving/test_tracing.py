"""Spans, as a collector gets them, and the way of a trace's id into the log."""

from __future__ import annotations

import http.server
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.serving.models_to_serve import named_columns, save
from tests.integration.serving.test_process import DEADLINE_S, running

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier saved by MLflow."""
    path = tmp_path_factory.mktemp("traced") / "model"
    save(named_columns(), path)
    return path


@contextmanager
def collector() -> Iterator[tuple[str, queue.Queue[Any]]]:
    """A receiver of OTLP over HTTP: its address, and the spans with their resources."""
    spans: queue.Queue[Any] = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            for several in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in several.scope_spans:
                    for span in scope.spans:
                        spans.put((span, attributes_of(several.resource)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes_of(told: Any) -> Mapping[str, Any]:
    """Attributes as plain values."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in told.attributes}


def ask(one: Any, path: str, headers: Mapping[str, str], body: str | None = None) -> int:
    """The status of one answer."""
    connection = one.connect()
    try:
        connection.request(
            "POST" if body else "GET", path, body, {"Content-Type": "application/json", **headers}
        )
        answer = connection.getresponse()
        answer.read()
        return int(answer.status)
    finally:
        connection.close()


def test_a_span_for_each_answer(tmp_path: Path, model: Path) -> None:
    """Named by route, with status, run and request id, as a child of the caller's; all are sent."""
    (tmp_path / "provenance.json").write_text(json.dumps({"run": {"id": "r1"}, "model": {"name": "wine"}}))
    row = dict.fromkeys(named_columns().rows.columns, 1.0)
    with collector() as (address, spans):
        with running(
            tmp_path, model, RUNBAKE_WORKERS="2", OTEL_BSP_SCHEDULE_DELAY="100", **{OTLP: address}
        ) as one:
            parent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}
            assert ask(one, "/predict", parent, json.dumps({"rows": [row]})) == 200
            assert ask(one, "/secret/path", {}) == 404
            assert ask(one, "/version", {"traceparent": f"00-{TRACE}-{PARENT}-00"}) == 200
            assert one.stopped() == 0
            lines = [event for event in one.events() if event.get("trace_id") == TRACE]
        told = {}
        while not spans.empty():
            span, resource = spans.get(timeout=DEADLINE_S)
            told[span.name] = (span, attributes_of(span), resource)
    span, attributes, resource = told["POST /predict"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.route"] == "/predict"
    assert attributes["runbake.request_id"] == "mine"
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert (resource["service.name"], resource["runbake.run_id"]) == ("wine", "r1")
    assert attributes_of(told["GET other"][0])["http.response.status_code"] == 404
    assert "GET /version" not in told, "the caller does not sample this trace"
    assert not [name for name in told if "secret" in name]
    assert [line["path"] for line in lines] == ["/predict", "/version"]


def test_a_collector_that_is_gone(tmp_path: Path, model: Path) -> None:
    """Answers come as before, the end comes in time, and the log stays JSON."""
    variables = {OTLP: "http://127.0.0.1:9", "OTEL_SERVICE_NAME": "x"}
    with running(tmp_path, model, RUNBAKE_WORKERS="1", **variables) as one:
        assert ask(one, "/version", {}) == 200
        assert one.stopped() == 0
        assert one.events()


def test_without_the_packages(tmp_path: Path, model: Path) -> None:
    """Where the image has no exporter the server serves, and its log says what to add."""
    site = tmp_path / "none" / "opentelemetry" / "exporter"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("raise ImportError('not in the image')")
    with running(
        tmp_path,
        model,
        RUNBAKE_WORKERS="1",
        PYTHONPATH=f"{site.parents[1]}:{Path(__file__).parents[3] / 'serving_template'}",
        **{OTLP: "http://127.0.0.1:9"},
    ) as one:
        assert ask(one, "/version", {}) == 200
        assert one.stopped() == 0
        [line] = [event for event in one.events() if event["event"] == "no spans are sent"]
    assert line["hint"] == "add opentelemetry-exporter-otlp-proto-http to the model's requirements"
