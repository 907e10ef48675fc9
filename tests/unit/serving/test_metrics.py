"""Figures of all workers, and their text as Prometheus' own parsers read it."""

from __future__ import annotations

import ast
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from runbake_serving.metrics.exposition import text_of, wants_openmetrics
from runbake_serving.metrics.metrics import FAMILIES, Metrics
from tests.unit.serving.test_app import answer_to, model_of

ROUTES = ("/ping", "/v2/models/{name}")


def metrics_of(*, info: tuple[tuple[str, str], ...] = (), waiting: int = 0) -> Metrics:
    """Figures of two routes."""
    return Metrics(ROUTES, info, lambda: (waiting, 0, 0, 0))


def samples_of(metrics: Metrics, *, openmetrics: bool = True) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by name and label values."""
    text = text_of(metrics.families(), openmetrics=openmetrics).decode()
    read = read_openmetrics if openmetrics else read_text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in read(text)
        for sample in family.samples
    }


@contextmanager
def worker(work: Callable[[], None]) -> Iterator[int]:
    """A process that has done its work and then waits; it is killed in the end."""
    done, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(ready, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(ready)
    try:
        assert os.read(done, 1) == b"!"
        yield pid
    finally:
        os.close(done)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("openmetrics", [True, False])
def test_what_is_counted(openmetrics: bool) -> None:
    """Requests by template and status, times, calls and rows come out as they went in."""
    metrics = metrics_of()
    metrics.observe_request({"path": "/ping"}, 200, 0.002)
    metrics.observe_request({"path": "/ping"}, 200, 3.0)
    metrics.observe_request({"path": "/secret/path"}, 404, 0.1)
    metrics.observe_request({"path": "/ping"}, 0, 100.0)
    metrics.observe_call(3, 8, 0.004)
    samples = samples_of(metrics, openmetrics=openmetrics)
    assert samples["runbake_requests_total", ("/ping", "200")] == 2
    assert samples["runbake_requests_total", ("other", "404")] == 1
    assert samples["runbake_requests_total", ("/ping", "0")] == 1
    assert samples["runbake_request_seconds_bucket", ("/ping", "0.001")] == 0
    assert samples["runbake_request_seconds_bucket", ("/ping", "0.0025")] == 1
    assert samples["runbake_request_seconds_bucket", ("/ping", "5.0")] == 2
    assert samples["runbake_request_seconds_bucket", ("/ping", "+Inf")] == 3
    assert samples["runbake_request_seconds_count", ("/ping",)] == 3
    assert samples["runbake_request_seconds_sum", ("/ping",)] == pytest.approx(103.002)
    assert samples["runbake_call_requests_sum", ()] == 3
    assert samples["runbake_call_rows_bucket", ("10.0",)] == 1
    assert samples["runbake_rows_total", ()] == 8
    assert samples["process_cpu_seconds_total", ()] > 0
    assert samples["process_resident_memory_bytes", ()] > 1 << 20
    assert not [key for key in samples if "/secret/path" in key[1]]


def test_every_family_is_told() -> None:
    """The table of the documentation names what a scrape has, no more and no less."""
    text = text_of(metrics_of().families(), openmetrics=True).decode()
    families = {family.name: family.type for family in read_openmetrics(text)}
    ours = {name: kind for name, kind in families.items() if name.startswith("runbake_")}
    assert ours == {name: kind for name, (kind, _) in FAMILIES.items()}


def test_the_documentation_has_them_all() -> None:
    """docs/serving.md tells every family as the code does."""
    text = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    rows = [f"| `{name}` | {kind} | {told} |" for name, (kind, told) in FAMILIES.items()]
    assert "\n".join(rows) in text


@given(st.text())
def test_hostile_labels(text: str) -> None:
    """Any text as a label's value comes back as it is, in both formats."""
    metrics = metrics_of(info=(("run_id", text),))
    for openmetrics in (True, False):
        samples = samples_of(metrics, openmetrics=openmetrics)
        assert samples["runbake_model_info", (text.encode("utf-8", "replace").decode(),)] == 1


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """What a worker of its own reads: this process is the supervisor, and counts nothing."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, repr(samples_of(metrics)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        samples: dict[tuple[str, tuple[str, ...]], float] = ast.literal_eval(answer.read().decode())
    os.waitpid(pid, 0)
    return samples


def test_killed_workers_are_neither_lost_nor_doubled() -> None:
    """What a killed worker counted stays, its successor counts on, and gauges are of the living alone."""
    metrics = metrics_of(waiting=5)

    def work() -> None:
        metrics.observe_request({"path": "/ping"}, 200, 0.1)
        metrics.refresh()

    for turn in range(1, 4):
        with worker(work), worker(work):
            samples = scraped(metrics)
            assert samples["runbake_requests_total", ("/ping", "200")] == 2 * turn
            assert samples["runbake_workers", ()] == 3
            assert samples["runbake_requests_in_flight", ()] == 15
        samples = scraped(metrics)
        assert samples["runbake_requests_total", ("/ping", "200")] == 2 * turn
        assert (samples["runbake_workers", ()], samples["runbake_requests_in_flight", ()]) == (1, 5)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", True),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.9", False),
        ("Application/OpenMetrics-Text; Q=1", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=" + "9" * 400, False),
        (",;=;q=,", False),
    ],
)
def test_accept(accept: str, wanted: bool) -> None:
    """OpenMetrics is given to who asks for it."""
    assert wants_openmetrics(accept) is wanted


def test_scrape() -> None:
    """/metrics names the run of the label file and its own format."""
    answer = answer_to(model_of(), "GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    [info] = [line for line in answer.text.splitlines() if line.startswith("runbake_model_info")]
    assert 'run_id="r1"' in info
    assert 'version="3"' in info
    assert 'provenance_digest="sha256:' in info
