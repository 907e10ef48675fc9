"""Figures of a real server with several workers, of which one is killed; and what every answer names."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.serving.models_to_serve import named_columns, save
from tests.integration.serving.test_process import DEADLINE_S, Running, running

DIGEST = f"sha256:{'5' * 64}"


def figures(one: Running) -> dict[tuple[str, ...], float]:
    """Every sample by name and label values."""
    status, body, _ = one.ask("GET", "/metrics")
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def figures_at(one: Running, *, answered: int) -> dict[tuple[str, ...], float]:
    """Every sample once so many typed requests are counted, which is after their answers left; never more."""
    give_up_at = time.monotonic() + DEADLINE_S
    while (counted := (found := figures(one))["runbake_requests_total", "/predict", "200"]) < answered:
        assert time.monotonic() < give_up_at, one.log.read_text()
        time.sleep(0.05)
    assert counted == answered
    return found


def workers_of(one: Running) -> list[int]:
    """The worker processes' ids."""
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def test_a_killed_worker(tmp_path: Path) -> None:
    """What it counted is neither lost nor doubled, and its place is taken."""
    save(named_columns(), tmp_path / "model")
    (tmp_path / "provenance.json").write_text(json.dumps({"run": {"id": "r1"}}))
    body = json.dumps({"rows": [dict.fromkeys(named_columns().rows.columns, 1.0)] * 3})
    settings = {"RUNBAKE_WORKERS": "2", "RUNBAKE_IMAGE_DIGEST": DIGEST}
    with running(tmp_path, tmp_path / "model", **settings) as one:
        for _ in range(20):
            status, _, headers = one.ask("POST", "/predict", body)
            assert (status, headers["x-runbake-image-digest"]) == (200, DIGEST)
        before = figures_at(one, answered=20)
        assert before["runbake_rows_total",] == 60
        assert before["runbake_workers",] == 2
        killed = workers_of(one)[0]
        os.kill(killed, signal.SIGKILL)
        give_up_at = time.monotonic() + DEADLINE_S
        while killed in (pids := workers_of(one)) or len(pids) < 2 or figures(one)["runbake_workers",] < 2:
            assert time.monotonic() < give_up_at, one.log.read_text()
            time.sleep(0.05)
        for _ in range(20):
            assert one.ask("POST", "/predict", body)[0] == 200
        after = figures_at(one, answered=40)
        assert after["runbake_rows_total",] == 120
        assert after["process_cpu_seconds_total",] >= before["process_cpu_seconds_total",]
        assert after["runbake_request_seconds_count", "/predict"] == 40
        [info] = [labels for labels in after if labels[0] == "runbake_model_info"]
        assert "r1" in info
        assert DIGEST in info
        assert one.stopped() == 0
