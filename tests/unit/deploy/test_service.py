"""What stands in an engine is understood, wherever a deploy was killed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from runbake.deploy import Limits, Service, Subject, endpoint_tags, row_of, services_of, url_of
from runbake.deploy.service import (
    LABEL_ADDRESS,
    LABEL_AT,
    LABEL_DIGEST,
    LABEL_NAME,
    LABEL_ROLE,
    PROBE,
    server_spec,
    service_of,
    variables_of,
)
from runbake.runtime import ContainerFacts
from runbake_serving import contract

DOOR_ID = "d" * 64


def container(suffix: str, *, at: str = "", status: str = "running", role: str = "server") -> ContainerFacts:
    """A container of the service `wine`."""
    return ContainerFacts(
        id=DOOR_ID if role == "door" else suffix or "current",
        name=f"wine{suffix}",
        image="sha256:0",
        status=status,
        exit_code=0,
        started_at=datetime.fromisoformat(at or "2026-11-23T00:00:00Z"),
        network="bridge" if role == "door" else f"container:{DOOR_ID}",
        published="127.0.0.1:9000" if role == "door" else "",
        labels={LABEL_NAME: "wine", LABEL_ROLE: role, LABEL_AT: at, LABEL_ADDRESS: "127.0.0.1:9000"},
        environment=(),
        memory_bytes=0,
        cpus=0.0,
        pids=0,
    )


DOOR = container("-door", role="door")
CURRENT = container("", at="2026-11-23T02:00:00Z")
OLD = container("-old-1", at="2026-11-23T01:00:00Z", status="exited")
OLDER = container("-old-0", at="2026-11-23T00:30:00Z", status="exited")
NEXT = container("-next-2", at="2026-11-23T03:00:00Z")


def names(*containers: ContainerFacts) -> tuple[str, str, list[str], tuple[tuple[str, str], ...]]:
    """Current and previous container, those that are half done, and the renames to be made."""
    found = service_of("wine", containers)
    return (
        found.current.name if found.current else "",
        found.previous.name if found.previous else "",
        [one.name for one in found.half_done],
        found.renames,
    )


def test_nothing_half_done() -> None:
    """The current server, the one before it, and one older, which goes."""
    assert names(DOOR, OLDER, CURRENT, OLD) == ("wine", "wine-old-1", ["wine-old-0"], ())


def test_killed_before_the_new_one_was_ready() -> None:
    """The old one has the name: it stays, and the new one goes."""
    assert names(DOOR, CURRENT, NEXT) == ("wine", "", ["wine-next-2"], ())


def test_killed_at_the_first_deploy() -> None:
    """Nobody was ever ready."""
    assert names(DOOR, NEXT) == ("", "", ["wine-next-2"], ())


def test_killed_while_the_name_went_over() -> None:
    """Nobody has the name and there is an old one: the new one was ready, and takes it."""
    running = replace(OLD, status="running")
    assert names(DOOR, NEXT, running) == ("wine-next-2", "wine-old-1", [], (("-next-2", "wine"),))


def test_the_new_one_died_while_the_name_went_over() -> None:
    """Then the old one has its name back."""
    running, dead = replace(OLD, status="running"), replace(NEXT, status="exited")
    assert names(DOOR, dead, running) == ("wine-old-1", "", ["wine-next-2"], (("-old-1", "wine"),))


@pytest.mark.parametrize(
    ("containers", "state"),
    [
        ((DOOR, CURRENT), "serving"),
        ((CURRENT,), "cut off"),
        ((replace(DOOR, status="exited"), CURRENT), "cut off"),
        ((replace(DOOR, started_at=datetime(2026, 11, 23, 9, tzinfo=UTC)), CURRENT), "cut off"),
        ((DOOR, replace(CURRENT, status="exited")), "stopped"),
        ((DOOR, replace(CURRENT, status="restarting")), "restarting"),
        ((DOOR,), "absent"),
    ],
)
def test_the_state_is_what_callers_meet(containers: tuple[ContainerFacts, ...], state: str) -> None:
    """A server whose door was lost or restarted runs, and nobody reaches it."""
    assert service_of("wine", containers).state == state


def test_services_are_told_apart() -> None:
    """Containers of other names are another service's; a lock alone is none."""
    other = replace(CURRENT, name="beer", labels={**CURRENT.labels, LABEL_NAME: "beer"})
    lock = replace(CURRENT, name="ale-lock", labels={LABEL_NAME: "ale", LABEL_ROLE: "lock"})
    rows = [row_of(service) for service in services_of((CURRENT, other, DOOR, lock))]

    assert [(row["name"], row["state"]) for row in rows] == [("beer", "cut off"), ("wine", "serving")]


def test_a_server_is_told_how_to_share() -> None:
    """It shares the port, answers on its own socket, does not restart before it was ready, is labelled."""
    subject = Subject(reference="h.x/w@sha256:1", digest="sha256:1", labels={contract.LABEL_RUN_ID: "r"})
    spec = server_spec(
        "wine",
        subject,
        image="sha256:0",
        door=DOOR,
        environment={"RUNBAKE_GRACE_S": "3", "A": "1"},
        limits=Limits(),
        previous="sha256:9",
        at="2026-11-23T03:00:00Z",
        token="ab",
    )

    assert (spec.name, spec.network, spec.restart) == ("wine-next-ab", f"container:{DOOR_ID}", False)
    assert spec.environment[contract.ENV_PROBE] == PROBE
    assert spec.environment[contract.ENV_IMAGE_DIGEST] == spec.labels[LABEL_DIGEST]
    assert spec.environment[contract.ENV_REUSE_PORT] == "on"
    assert spec.user.partition(":")[0] == str(contract.USER_ID)
    assert spec.labels[LABEL_DIGEST] == "sha256:1"
    assert spec.stop_s > 3
    given = tuple(f"{name}={value}" for name, value in spec.environment.items())
    again = replace(CURRENT, environment=(*given, "PATH=/bin", "B=="))
    assert variables_of(again, ("PATH=/bin",)) == {"RUNBAKE_GRACE_S": "3", "A": "1", "B": "="}


def test_the_run_that_served_is_told_until_when() -> None:
    """Both runs have the endpoint; a service that is taken out has the earlier one only."""
    before = {contract.LABEL_RUN_ID: "old"}
    taken = endpoint_tags("wine", "http://h:1", at="T", run_id="new", replaced=before)
    gone = endpoint_tags("wine", "http://h:1", at="T", run_id="", replaced=before)
    again = endpoint_tags("wine", "http://h:1", at="T", run_id="old", replaced=before)

    key = "runbake.endpoint.wine"
    assert taken == {"old": {key: "http://h:1 until T"}, "new": {key: "http://h:1 since T"}}
    assert gone == {"old": {key: "http://h:1 until T"}}
    assert again == {"old": {key: "http://h:1 since T"}}


@pytest.mark.parametrize(
    ("published", "engine", "url"),
    [
        ("127.0.0.1:9000", "", "http://127.0.0.1:9000"),
        ("127.0.0.1:9000", "unix:///run/docker.sock", "http://127.0.0.1:9000"),
        ("127.0.0.1:9000", "ssh://ada@far.example:22", "http://far.example:9000"),
        ("0.0.0.0:9000", "tcp://far.example:2376", "http://far.example:9000"),
        ("0.0.0.0:9000", "", "http://here:9000"),
        ("[::1]:9000", "", "http://[::1]:9000"),
        ("10.1.2.3:80", "tcp://far.example:2376", "http://10.1.2.3:80"),
    ],
)
def test_the_url_is_one_that_people_can_use(published: str, engine: str, url: str) -> None:
    """An engine elsewhere is named; so is this machine where the service has every address."""
    assert url_of(published, engine_host=engine, hostname="here") == url


def test_the_service_is_a_value() -> None:
    """Frozen all the way down."""
    assert isinstance(service_of("wine", (CURRENT,)), Service)
    assert isinstance(hash(service_of("wine", ()).half_done), int)
