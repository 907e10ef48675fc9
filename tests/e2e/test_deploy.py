"""An image in service: taken over without a lost request, taken back, and never worse than before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import pytest
from rich.console import Console

from runbake.cli.story import TerminalStory
from runbake.deploy import Hands, roll_back, undeploy
from runbake.errors import ConfigError, EngineError
from runbake.runtime import Engine, Standing
from runbake.tracking import Tracking
from tests.e2e.deploying import DEADLINE_S, NAME_LABEL, Deployment, deployment, under_load
from tests.e2e.world import World, log_wine

FEW_DEPLOYS = 2


@pytest.fixture(scope="module")
def images(world: World, wine_image: str) -> tuple[str, str]:
    """The image of one run, and of another one in the same environment."""
    run = log_wine(world.mlflow_uri, c=0.1)
    again = world.done(
        *("containerize", run, "--repository", f"{world.registry}/wine", "--no-prove", "--allow-unproven")
    )
    return wine_image, again.out.strip()


@pytest.fixture
def service(world: World, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """A name and a free port; nothing is left of it."""
    name = f"test-{os.getpid()}-{abs(hash(request.node.name)) % 10_000}"
    with deployment(world, name) as made:
        yield made


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return when it holds; the command's own words are shown when it ended before."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@contextmanager
def starting(service: Deployment, image: str) -> Iterator[subprocess.Popen[str]]:
    """A deploy whose new container is there, and is not ready."""
    with service.world.popen("deploy", image, "--name", service.name) as process:
        wait_for(lambda: any(name.startswith("-next-") for name in service.containers()), process)
        yield process
        process.communicate(timeout=DEADLINE_S)


def test_deploy_take_over_and_roll_back(
    world: World, service: Deployment, images: tuple[str, str], wine_run: str
) -> None:
    """Each deployment answers as its run, hardened, on the same port; runs, list and trace know where."""
    first, second = images
    said = service.deploy(first, "--port", str(service.port), "--memory", "600m", "--env", "A=$1 'x'")
    assert said.out.strip() == service.url
    assert service.ping()["x-runbake-run-id"] == wine_run
    assert wine_run in world.done("trace", service.name).out
    server = service.server().attrs
    host = server["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Memory"]) == (True, ["ALL"], 600 << 20)
    assert (host["SecurityOpt"], host["PidsLimit"]) == (["no-new-privileges"], 1024)
    assert (server["Config"]["User"], host["RestartPolicy"]["Name"]) == ("10001:10001", "unless-stopped")
    assert "A=$1 'x'" in server["Config"]["Env"]

    service.deploy(second)
    other = service.ping()["x-runbake-run-id"]
    assert other != wine_run
    (row,) = [
        row for row in json.loads(world.done("deployments", "--json").out) if row["name"] == service.name
    ]
    assert (row["state"], row["run"], row["image"]) == ("serving", other, second)
    assert (row["address"], row["previous"]) == (f"127.0.0.1:{service.port}", first.partition("@")[2])
    tracking, tag = Tracking(world.mlflow_uri), f"runbake.endpoint.{service.name}"
    assert dict(tracking.stops_of(other))[tag].startswith(f"{service.url} since ")
    assert dict(tracking.stops_of(wine_run))[tag].startswith(f"{service.url} until ")

    world.done("deploy", "--rollback", "--name", service.name, "--tracking-uri", "http://127.0.0.1:9")
    assert service.ping()["x-runbake-run-id"] == wine_run
    assert f"image       {first}\n" in world.done("trace", service.name).out
    back = service.server().attrs
    assert (back["HostConfig"]["Memory"], "A=$1 'x'" in back["Config"]["Env"]) == (600 << 20, True)
    assert len(service.containers()) == 3  # door, server, and the one before it

    world.done("undeploy", service.name)
    assert service.containers() == {}
    assert dict(tracking.stops_of(wine_run))[tag].startswith(f"{service.url} until ")


def test_one_that_does_not_get_ready_changes_nothing(
    service: Deployment, images: tuple[str, str], wine_run: str
) -> None:
    """It is removed, the end of its log is shown, and the one before it serves on, never stopped."""
    first, second = images
    unready = ("deploy", second, "--name", service.name)
    at_first = service.world.run(*unready, "--env", "RUNBAKE_WORKERS=none", "--port", str(service.port))
    assert (at_first.status, service.containers()) == (64, {}), at_first.err
    assert "nothing serves" in at_first.err

    service.deploy(first, "--port", str(service.port))
    before = service.server().attrs["State"]["StartedAt"]
    broken = service.world.run(*unready, "--env", "RUNBAKE_WORKERS=none")
    slow = service.world.run(*unready, "--timeout", "1", "--cpus", "0.05")

    assert (broken.status, slow.status) == (64, 64), broken.err + slow.err
    assert "RUNBAKE_WORKERS must be a whole number" in broken.err
    assert "the one before it still serves" in slow.err
    assert service.ping()["x-runbake-run-id"] == wine_run
    assert service.server().attrs["State"]["StartedAt"] == before
    assert set(service.containers()) == {"", "-door"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_deploy_leaves_the_old_one(
    service: Deployment, images: tuple[str, str], wine_run: str, number: signal.Signals
) -> None:
    """Killed or interrupted while the new one starts: the old one serves, and the next deploy cleans up."""
    first, second = images
    service.deploy(first, "--port", str(service.port))
    with starting(service, second) as process:
        process.send_signal(number)
    assert service.ping()["x-runbake-run-id"] == wine_run
    if number == signal.SIGINT:
        assert (process.returncode, set(service.containers())) == (130, {"", "-door"})

    service.deploy(second)
    assert service.ping()["x-runbake-run-id"] != wine_run
    left = service.containers()
    assert sorted(name.partition("-")[2].partition("-")[0] for name in left) == ["", "door", "old"]


def test_what_a_killed_first_deploy_left_can_be_taken_out(
    service: Deployment, images: tuple[str, str]
) -> None:
    """A door alone, or with a server that was not ready: `undeploy` removes it, though nothing served."""
    for door_alone in (False, True):
        with service.world.popen(
            "deploy", images[0], "--name", service.name, "--port", str(service.port)
        ) as process:
            wait_for(lambda: any(name.startswith("-next-") for name in service.containers()), process)
            process.kill()
            process.communicate(timeout=DEADLINE_S)
        if door_alone:
            for name, container in service.containers().items():
                if name.startswith("-next-"):
                    container.remove(force=True)
        said = service.world.run("undeploy", service.name)
        assert (said.status, service.containers()) == (3, {}), said.err
        assert "nothing is deployed" in said.err


def test_two_deploys_of_one_name_do_not_meet(service: Deployment, images: tuple[str, str]) -> None:
    """While one holds the name the other is refused, and nothing was made of it."""
    service.deploy(images[0], "--port", str(service.port))
    engine = Engine.connect(os.environ)
    standing = Standing(engine, NAME_LABEL)
    server = service.server().attrs
    labels = {NAME_LABEL: service.name}
    with standing.locked(f"{service.name}-lock", server["Image"], server["Path"], labels):
        refused = service.world.run("deploy", images[1], "--name", service.name)
        assert (refused.status, set(service.containers())) == (66, {"", "-door", "-lock"}), refused.err
    assert set(service.containers()) == {"", "-door"}
    engine.client.close()


class Meeting(Hands):
    """Hands that get the lock after somebody else was at the service."""

    other: ClassVar[Callable[[], None]]

    @property
    def standing(self) -> Standing:
        """The containers of deploys, with the other one's work done when the lock is held."""
        other = type(self).other

        class Late(Standing):
            @contextmanager
            def locked(self, name: str, image: str, python: str, labels: Mapping[str, str]) -> Iterator[None]:
                with super().locked(name, image, python, labels):
                    other()
                    yield

        return Late(self.engine, NAME_LABEL)


@contextmanager
def hands_of(kind: type[Hands]) -> Iterator[Hands]:
    """Hands whose containers are all called alike."""
    engine = Engine.connect(os.environ)
    story = TerminalStory(Console(stderr=True))
    try:
        yield kind(engine=engine, now=lambda: "2026-11-23T00:00:00.000Z", token=lambda: "abcd", story=story)
    finally:
        engine.client.close()


def test_what_another_command_did_before_the_lock_is_seen(
    service: Deployment, images: tuple[str, str], wine_run: str
) -> None:
    """A rollback and an undeploy act on what stands when they hold the lock, not on what they saw before."""
    service.deploy(images[1], "--port", str(service.port))
    service.deploy(images[0])

    def remove(kind: str) -> None:
        for name, container in service.containers().items():
            if name.startswith(kind) and not name.startswith(("-door", "-lock")):
                container.remove(force=True)

    with hands_of(Meeting) as hands:
        Meeting.other = lambda: remove("-old-")
        with pytest.raises(ConfigError, match="no deployment before"):
            roll_back(service.name, hands, timeout_s=60)
        assert service.ping()["x-runbake-run-id"] == wine_run
        Meeting.other = lambda: remove("")
        with pytest.raises(ConfigError, match="nothing is deployed"):
            undeploy(service.name, hands)


def test_a_name_that_cannot_be_given(service: Deployment, images: tuple[str, str], wine_run: str) -> None:
    """Where the engine refuses a rename, the new one is removed and the old one has its name and callers."""
    service.deploy(images[1], "--port", str(service.port))
    service.deploy(images[0])
    foreign = service.client.containers.create(
        service.server().attrs["Image"], name=f"{service.name}-old-abcd"
    )
    try:
        with hands_of(Hands) as hands, pytest.raises(EngineError, match="rename"):
            roll_back(service.name, hands, timeout_s=60)
    finally:
        foreign.remove(force=True)
    assert service.ping()["x-runbake-run-id"] == wine_run
    assert not [name for name in service.containers() if name.startswith("-next-")]


def test_what_is_taken_is_not_taken_away(service: Deployment, images: tuple[str, str]) -> None:
    """A container of somebody else that has the name, and a port that is in use, are errors."""
    service.deploy(images[0], "--port", str(service.port))
    with deployment(service.world, f"{service.name}-b") as other:
        image = service.server().attrs["Image"]
        foreign = other.client.containers.create(image, name=other.name)
        try:
            by_name = service.world.run("deploy", images[0], "--name", other.name, "--port", str(other.port))
        finally:
            foreign.remove(force=True)
        by_port = service.world.run("deploy", images[0], "--name", other.name, "--port", str(service.port))
        left = other.containers()

    assert (by_name.status, by_port.status, left) == (60, 60, {}), by_name.err + by_port.err
    assert "did not deploy" in by_name.err
    assert "allocated" in by_port.err
    assert "choose another --port" in by_port.err
    service.ping()


def test_image_json_is_enough(world: World, service: Deployment, images: tuple[str, str]) -> None:
    """What `containerize` wrote names the image; a report of a failure does not."""
    done, failed = world.directory / "done.json", world.directory / "failed.json"
    done.write_text(json.dumps({"status": "done", "reference": images[1]}))
    failed.write_text(json.dumps({"status": "failed", "asked": "x"}))

    printed = world.done("deploy", str(done), "--name", service.name, "--print", "compose").out
    refused = world.run("deploy", str(failed), "--name", service.name)
    assert images[1] in printed
    assert (refused.status, service.containers()) == (3, {})


@pytest.mark.parametrize("kind", ["compose", "kubernetes", "ecs"])
def test_a_manifest_names_the_image_and_its_run(
    world: World, images: tuple[str, str], wine_run: str, kind: str
) -> None:
    """By digest, with where it comes from; a secret's name is in it and its value is not."""
    secret = {"TOKEN": "hunter2", "DOCKER_HOST": "tcp://127.0.0.1:9"}
    printed = world.done(
        "deploy", images[0], "--name", "wine", "--print", kind, "--env", "TOKEN", env=secret
    ).out

    assert images[0] in printed
    assert wine_run in printed
    assert "TOKEN" in printed
    assert "hunter2" not in printed


def test_no_request_is_lost_while_servers_change(service: Deployment, images: tuple[str, str]) -> None:
    """Under load, on kept and on fresh connections, every request of several deploys is answered."""
    service.deploy(images[0], "--port", str(service.port))
    with under_load(service.url) as load:
        load.wait_for_more(100)
        for number in range(FEW_DEPLOYS):
            service.deploy(images[1 - number % 2])
            load.wait_for_more(100)
        service.world.done("deploy", "--rollback", "--name", service.name)
        load.wait_for_more(100)

    assert load.lost == []
    assert len(load.answered) == 2
