"""Services that a test deploys, and callers that count every request."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker
import docker.errors
import httpx
from docker.models.containers import Container
from sklearn.datasets import load_wine

from lab.engine import engine
from lab.ports import port_for
from tests.e2e.world import Said, World

NAME_LABEL = "dev.runbake.deploy.name"
DEADLINE_S = 60.0
ROWS = load_wine(as_frame=True).data.head(2)
BODY = json.dumps({"dataframe_split": json.loads(ROWS.to_json(orient="split"))})


@dataclass
class Deployment:
    """One service, and the commands about it."""

    world: World
    name: str
    port: int
    client: docker.DockerClient = field(default_factory=engine)

    @property
    def url(self) -> str:
        """Where callers reach it."""
        return f"http://127.0.0.1:{self.port}"

    def deploy(self, *arguments: str, env: dict[str, str] | None = None) -> Said:
        """Deploy, successfully."""
        return self.world.done("deploy", *arguments, "--name", self.name, env=env)

    def containers(self) -> dict[str, Container]:
        """All containers of the service by name, without the service's own name in front."""
        found = self.client.containers.list(
            all=True, filters={"label": f"{NAME_LABEL}={self.name}"}, ignore_removed=True
        )
        return {str(one.name).removeprefix(self.name): one for one in found}

    def server(self) -> Container:
        """The container that serves."""
        return self.containers()[""]

    def ping(self) -> dict[str, str]:
        """Headers of an answer; anything but 200 fails the test with the server's log."""
        answer = httpx.get(f"{self.url}/ping", timeout=30)
        assert answer.status_code == 200, self.server().logs(tail=30)
        return dict(answer.headers)


def remove(container: Container) -> None:
    """Have it removed: a lock's container removes itself when its holder is gone, maybe just now."""
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if "already in progress" not in str(error.explanation):
            raise


@contextmanager
def deployment(world: World, name: str) -> Iterator[Deployment]:
    """A name and a port; whatever stands under the name in the end is removed."""
    with port_for(0) as port:
        pass
    made = Deployment(world, name, port)
    try:
        yield made
    finally:
        for container in made.containers().values():
            remove(container)
        made.client.close()


@dataclass
class Load:
    """Callers that ask without a pause, and what came of each request.

    `answered` counts 200s by run; `lost` has one line for each request without such an answer.
    """

    url: str
    answered: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, *, keep_alive: bool) -> None:
        """Ask until it is over, on one connection or on a new one for each request."""
        headers = {"Content-Type": "application/json", **({} if keep_alive else {"Connection": "close"})}
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self._over.is_set():
                began_s = time.monotonic()
                try:
                    answer = client.post(f"{self.url}/invocations", content=BODY, headers=headers)
                    wrong = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
                except httpx.HTTPError as error:
                    wrong = repr(error)
                took_s = time.monotonic() - began_s
                with self._lock:
                    if wrong:
                        self.lost.append(f"{wrong} after {took_s:.3f} s, keep_alive={keep_alive}")
                    else:
                        self.answered[answer.headers["x-runbake-run-id"]] += 1
                    self.slowest_s = max(self.slowest_s, took_s)

    def wait_for_more(self, count: int) -> None:
        """Return when so many more requests were answered."""
        wanted, give_up_at = self.answered.total() + count, time.monotonic() + DEADLINE_S
        while self.answered.total() < wanted:
            assert time.monotonic() < give_up_at, f"{self.answered} {self.lost[:5]}"
            time.sleep(0.01)

    def end(self) -> None:
        """Let the callers finish."""
        self._over.set()


@contextmanager
def under_load(url: str, *, kept: int = 6, fresh: int = 2) -> Iterator[Load]:
    """Callers on `kept` connections that stay and `fresh` that are new for each request."""
    load = Load(url)
    threads = [
        threading.Thread(target=load.call, kwargs={"keep_alive": number < kept})
        for number in range(kept + fresh)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.end()
        for thread in threads:
            thread.join()
