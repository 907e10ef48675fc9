"""The plugin's exact requests, through the bridge, to a real MLflow; answers are read as the plugin does.

Its rules are in indix/mlflow-gocd 91bb69f: `MLFlowPackagePlugin.java`, `SearchResponse.java`, `Run.java`.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from lab.crowd import Crowd, add_crowd
from lab.mlflow_server import BasicAuth, running_mlflow
from runbake.gocd.bridge import Bridge, bridge_app
from runbake.gocd.dialect import LARGEST_ID, experiment_of, short_id
from runbake.tracking import Tracking
from tests.integration.gocd.conftest import Promoting


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What the plugin hands to GoCD."""

    revision: str
    timestamp: int
    user: str
    artifact_uri: str


class Plugin:
    """The plugin's requests and the way it reads answers, down to its exceptions."""

    def __init__(self, client: httpx.Client, *, tag: tuple[str, str] = ("promote", "true")) -> None:
        self._client, self._tag = client, tag

    def check_repository(self) -> int:
        return self._client.get("/").status_code

    def check_package(self, experiment_id: str, *, preview: str = "") -> int:
        path = f"/api/2.0/{preview}mlflow/experiments/get?experiment_id={experiment_id}"
        return self._client.get(path).status_code

    def latest_revision(self, experiment_id: str, *, preview: str = "") -> Revision:
        number = int(experiment_id)
        assert number <= LARGEST_ID, "NumberFormatException"
        body = json.dumps({"experiment_ids": [number], "run_view_type": "ACTIVE_ONLY"})
        answer = self._client.post(
            f"/api/2.0/{preview}mlflow/runs/search",
            content=body,
            headers={"Content-Type": "application/json; charset=UTF-8"},
        )
        assert answer.status_code == 200, answer.text
        promoted = [run for run in answer.json()["runs"] if self._is_promoted(run)]
        assert promoted, "NullPointerException"
        latest = max(promoted, key=lambda run: int(text(run["info"]["end_time"])))
        tags = {tag["key"]: tag["value"] for tag in latest["data"]["tags"]}
        return Revision(
            revision=text(latest["info"]["run_uuid"]),
            timestamp=int(text(latest["info"]["end_time"])),
            user=tags.get("user", "mlflow"),
            artifact_uri=text(latest["info"]["artifact_uri"]),
        )

    def _is_promoted(self, run: dict[str, Any]) -> bool:
        tags = {text(tag["key"]): text(tag["value"]) for tag in run["data"]["tags"]}
        return text(run["info"]["status"]) == "FINISHED" and tags.get(self._tag[0]) == self._tag[1]


def text(value: object) -> str:
    """A String field of google-http-client: a JSON number in it is an IllegalArgumentException."""
    assert isinstance(value, str), "IllegalArgumentException"
    return value


@contextmanager
def serving(bridge: Bridge) -> Iterator[httpx.Client]:
    """A client of the bridge, which runs under uvicorn as in production."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(bridge_app(bridge), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        give_up_at = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the bridge ended"
            assert time.monotonic() < give_up_at, "the bridge did not start"
            time.sleep(0.01)
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=120, trust_env=False
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def told() -> list[str]:
    """What the bridge says of failures."""
    return []


@pytest.fixture
def client(promoting: Promoting, told: list[str]) -> Iterator[httpx.Client]:
    """A client of a bridge to the real server."""
    with serving(Bridge(promoting.tracking, tag="promote=true", tell=told.append)) as made:
        yield made


@pytest.mark.parametrize("preview", ["", "preview/"])
def test_the_plugin_finds_the_run_that_was_promoted_last(
    promoting: Promoting, client: httpx.Client, preview: str
) -> None:
    """Not the one that ended last; failed, running, deleted and differently tagged runs are not taken."""
    experiment = promoting.experiment(f"bridge-latest{preview}")
    younger = promoting.run(experiment, end_ms=9_000_000)
    older = promoting.run(experiment, end_ms=1_000_000, **{"mlflow.user": "ada"})
    for status, tag in (("FAILED", "true"), ("RUNNING", "true"), ("FINISHED", "True")):
        promoting.run(experiment, end_ms=99_000_000, status=status, promote=tag)
    deleted = promoting.run(experiment, end_ms=99_000_000, promote="true")
    promoting.client.delete_run(deleted)
    promoting.promote(younger, at_ms=1_700_000_001_000)
    promoting.promote(older, at_ms=1_700_000_002_000)
    plugin = Plugin(client)

    assert plugin.check_repository() == plugin.check_package(experiment, preview=preview) == 200
    assert plugin.latest_revision(experiment, preview=preview) == Revision(
        revision=older,
        timestamp=1_700_000_002_000,
        user="ada",
        artifact_uri=promoting.client.get_run(older).info.artifact_uri,
    )


def test_more_runs_than_one_page_hide_no_promotion(promoting: Promoting, client: httpx.Client) -> None:
    """MLflow's first page has 1000 runs, and the promoted one is not on it; nor on the bridge's first."""
    crowd = Crowd(prefix="bridge-pages", first_id=700_000, experiments=1, runs=20_000, promoted=1)
    many = Crowd(prefix="bridge-many", first_id=700_001, experiments=1, runs=2_500, promoted=2_500)
    for each in (crowd, many):
        add_crowd(promoting.database, each)

    assert Plugin(client).latest_revision("700000").revision == crowd.run_id(0, 0)
    assert Plugin(client).latest_revision("700001").revision == many.run_id(0, 2_499)


def test_an_experiment_with_nothing_promoted_is_a_readable_404(
    promoting: Promoting, client: httpx.Client
) -> None:
    """GoCD shows the text; so it is for an experiment that is not there."""
    experiment = promoting.experiment("bridge-nothing")
    body = {"experiment_ids": [int(experiment)], "run_view_type": "ACTIVE_ONLY"}
    answer = client.post("/api/2.0/mlflow/runs/search", json=body)

    assert answer.status_code == 404
    assert "'bridge-nothing'" in answer.json()["message"]
    assert "promote=true" in answer.json()["message"]
    assert Plugin(client).check_package("987654") == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 4000,
        b'{"experiment_ids": [1, 2]}',
        b'{"experiment_ids": ["../1"]}',
        b'{"experiment_ids": [true]}',
        b'{"experiment_ids": [1], "filter": "tags.a = \'b\'"}',
        b'{"experiment_ids": [1], "run_view_type": "ALL"}',
        b'{"experiment_ids": ["' + b"9" * 60 + b'"]}',
    ],
)
def test_other_searches_are_refused(client: httpx.Client, body: bytes) -> None:
    """The bridge answers the plugin's search and is no way to MLflow's others."""
    answer = client.post("/api/2.0/mlflow/runs/search", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_nothing_can_be_written_through_it(promoting: Promoting, client: httpx.Client) -> None:
    """No method but GET and the one POST has a route; a body that never ends is refused."""
    experiment = promoting.experiment("bridge-write")
    run = promoting.run(experiment, end_ms=1_000_000, promote="true")
    for path in ("runs/set-tag", "runs/delete", "runs/create", "experiments/delete", "experiments/create"):
        answer = client.post(f"/api/2.0/mlflow/{path}", json={"run_id": run, "experiment_id": experiment})
        assert answer.status_code == 404
    for method in ("PUT", "PATCH", "DELETE"):
        assert client.request(method, "/api/2.0/mlflow/runs/search").status_code == 405
    assert client.post("/api/2.0/mlflow/runs/search", content=b" " * 5000).status_code == 413
    assert promoting.client.get_run(run).info.lifecycle_stage == "active"


def test_health_listing_trackback_and_metrics(promoting: Promoting, client: httpx.Client) -> None:
    """What people and Prometheus look at."""
    experiment = promoting.experiment("bridge-listed")
    run = promoting.run(experiment, end_ms=1_000_000)

    assert client.get("/health").json()["status"] == "ok"
    assert f"{experiment}  bridge-listed" in client.get("/experiments").text
    assert client.get(f"/runs/{run}", follow_redirects=False).headers["location"] == (
        f"{promoting.uri}/#/experiments/{experiment}/runs/{run}"
    )
    assert client.get(f"/runs/{'0' * 32}", follow_redirects=False).status_code == 404
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counted = {tuple(s.labels.values()): s.value for s in families["runbake_bridge_answers"].samples}
    assert counted == {("experiments", "200"): 1, ("health", "200"): 1, ("run", "307"): 1, ("run", "404"): 1}


def test_long_ids_get_numbers_that_the_plugin_can_parse() -> None:
    """The same ones always; both numbers find the experiment."""
    experiments = (("0", "Default"), ("7", "small"), ("728141395214067453", "file store"))
    numbers = [short_id(id_) for id_, _ in experiments]

    assert numbers[:2] == [0, 7]
    assert 1_500_000_000 <= numbers[2] <= LARGEST_ID
    for number, experiment in zip(numbers, experiments, strict=True):
        assert experiment_of(number, experiments) == experiment
    assert experiment_of(728141395214067453, experiments) == experiments[2]
    assert experiment_of(8, experiments) is None


def test_mlflow_away_is_503_and_told(told: list[str]) -> None:
    """Health says so too; the plugin's next poll finds it again."""
    bridge = Bridge(Tracking("http://127.0.0.1:9", timeout_s=1), tag="promote=true", tell=told.append)
    with serving(bridge) as client:
        assert client.get("/health").status_code == 503
        body = {"experiment_ids": [1], "run_view_type": "ACTIVE_ONLY"}
        assert client.post("/api/2.0/mlflow/runs/search", json=body).status_code == 503
    assert [line.partition(":")[0] for line in told] == ["health", "search"]


@pytest.mark.slow
def test_mlflows_login_is_the_bridges_and_not_the_plugins(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials come from MLflow's own variables; wrong ones are told, and never shown."""
    auth = BasicAuth(username="admin", password="long enough word")
    with running_mlflow(tmp_path_factory.mktemp("auth"), deadline_s=120, basic_auth=auth) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", auth.username)
        for password, status in (("wrong", 503), (auth.password, 200)):
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            bridge = Bridge(Tracking(uri), tag="promote=true", tell=lambda line: None)
            with serving(bridge) as client:
                answer = client.get("/health")
            assert (answer.status_code, password in answer.text) == (status, False)
