"""When spans are sent, and by which protocol: as OpenTelemetry's own variables say."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runbake_serving.http.tracing import tracing_of
from runbake_serving.settings import settings_of

OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("variables", "protocol"),
    [
        ({}, ""),
        ({OTLP: ""}, ""),
        ({OTLP: "http://x"}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, "http/protobuf"),
        ({OTLP: "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        ({OTLP: "http://x", "OTEL_SDK_DISABLED": "TRUE"}, ""),
        ({OTLP: "http://x", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({OTLP: "http://x", "OTEL_TRACES_EXPORTER": "otlp"}, "http/protobuf"),
    ],
)
def test_when(variables: Mapping[str, str], protocol: str) -> None:
    """Only with an endpoint, and not where it is switched off."""
    assert settings_of(variables).tracing == protocol


def test_a_protocol_that_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, and the server serves without spans."""
    assert tracing_of("pigeon", {}, lambda scope: "") is None
    assert [record.message for record in caplog.records] == ["no spans are sent"]
