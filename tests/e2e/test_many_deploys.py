"""Twenty deploys and twenty SIGTERMs under full load: no accepted request is lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import httpx
import pytest
from sklearn.dummy import DummyClassifier

from tests.e2e.deploying import BODY, ROWS, deployment, under_load
from tests.e2e.world import World, log_wine
from tests.integration.serving.test_process import Running, running, write_model

TIMES = 20
CALLERS = 16

pytestmark = pytest.mark.slow


def test_twenty_deploys(world: World, wine_image: str) -> None:
    """Sixteen callers, half of them on a new connection each time: every request has its answer."""
    run = log_wine(world.mlflow_uri, c=0.2)
    other = world.done(
        *("containerize", run, "--repository", f"{world.registry}/wine", "--no-prove", "--allow-unproven")
    )
    images = (wine_image, other.out.strip())
    with deployment(world, f"twenty-{os.getpid()}") as service:
        service.deploy(images[0], "--port", str(service.port))
        with under_load(service.url, kept=CALLERS // 2, fresh=CALLERS // 2) as load:
            for number in range(TIMES):
                said = service.deploy(images[1 - number % 2])
                assert "answered what it had" in said.err
                load.wait_for_more(50)
                assert load.lost == [], f"deploy {number}: {len(load.lost)} lost\n{said.err}"
    assert load.lost == []
    print(f"{load.answered.total()} requests, the slowest {load.slowest_s:.2f} s")


def call(server: Running, answered: list[int], lost: list[str]) -> None:
    """Ask until nobody accepts a connection any more; kept-alive as long as the server likes."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        while True:
            try:
                answer = client.post(
                    f"http://127.0.0.1:{server.port}/invocations",
                    content=BODY,
                    headers={"Content-Type": "application/json"},
                )
            except httpx.ConnectError:
                return  # never accepted
            except httpx.HTTPError as error:
                lost.append(repr(error))
            else:
                answered.append(answer.status_code)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_twenty_sigterms(tmp_path: Path, workers: str) -> None:
    """Each time the process ends with 0, and whoever was let in had a 200."""
    # It answers at once, so that the callers are as fast as they can be.
    write_model(tmp_path / "model", DummyClassifier().fit(ROWS, [1, 1]), example=BODY)
    answered: list[int] = []
    lost: list[str] = []
    for number in range(TIMES):
        (tmp_path / str(number)).mkdir()
        with running(tmp_path / str(number), tmp_path / "model", RUNBAKE_WORKERS=workers) as server:
            callers = [threading.Thread(target=call, args=(server, answered, lost)) for _ in range(CALLERS)]
            before = len(answered)
            for one in callers:
                one.start()
            while len(answered) < before + 200 and not lost:
                callers[0].join(0.01)
            assert server.stopped() == 0, server.log.read_text()[-2000:]
            for one in callers:
                one.join()
    assert (lost, set(answered)) == ([], {200})
