"""What the lab remembers between two commands."""

from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path

import pytest

from lab.process import identity_of
from lab.state import Service, State, container_name


@pytest.fixture
def state(tmp_path: Path) -> State:
    """An empty memory."""
    return State(tmp_path / "lab")


def service(name: str, *users: str) -> Service:
    """A service whose process is this one."""
    own = os.getpid()
    return Service(name=name, pid=own, identity=identity_of(own) or "", address="a:1", users=users)


def test_two_checkouts_have_containers_of_their_own(tmp_path: Path) -> None:
    """One checkout's `make demo-down` leaves the other's demo alone; its own name is always the same."""
    one, other = (container_name("runbake-demo", tmp_path / name) for name in ("a", "b"))

    assert one != other
    assert one == container_name("runbake-demo", tmp_path / "a")
    assert re.fullmatch(r"runbake-demo-[0-9a-f]{8}", one)


def test_it_starts_empty(state: State) -> None:
    """A fresh checkout runs nothing."""
    assert state.services() == {}
    assert state.release("demo") == ()


def test_services_survive_the_command(state: State) -> None:
    """What one command records the next one reads."""
    state.put(service("engine", "demo"))
    assert State(state.directory).services() == {"engine": service("engine", "demo")}


def test_a_service_is_stopped_only_when_its_last_user_lets_go(state: State) -> None:
    """The end of a test run stops nothing that the demo needs."""
    state.put(service("engine", "demo"))
    state.use("engine", "tests")
    state.use("engine", "tests")
    assert state.find("engine") == service("engine", "demo", "tests")
    assert state.release("tests") == ()
    assert state.release("demo") == (service("engine"),)


def test_services_are_stopped_in_reverse_order(state: State) -> None:
    """What was started last may stand on what was started first."""
    for name in ("engine", "registry", "mlflow"):
        state.put(service(name, "demo"))
    assert [found.name for found in state.release("demo")] == ["mlflow", "registry", "engine"]


def test_an_interrupted_stop_can_be_repeated(state: State) -> None:
    """A service stays known until it is forgotten."""
    state.put(service("engine", "demo"))
    state.release("demo")
    assert [found.name for found in state.release("demo")] == ["engine"]
    state.forget("engine")
    assert state.services() == {}


def test_using_what_is_not_ours_records_nothing(state: State) -> None:
    """An engine that was there before us is never in the memory, so never stopped."""
    state.use("engine", "demo")
    assert state.services() == {}


def test_dead_services_are_not_there(state: State) -> None:
    """A process that ended, or whose number another one has now, does not count."""
    own = os.getpid()
    state.put(Service(name="old", pid=own, identity="another boot:1", address="", users=("demo",)))
    assert state.services() == {}


def _locked_elsewhere(directory: Path, results: multiprocessing.Queue[str]) -> None:
    with State(directory).locked():
        results.put("second")


def test_two_commands_take_turns(state: State) -> None:
    """While one command holds the lab another one waits, so nothing is started twice."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    other = context.Process(target=_locked_elsewhere, args=(state.directory, results))
    with state.locked():
        other.start()
        other.join(1)  # long enough to start; it must still wait
        assert other.is_alive()
        assert results.empty()
    assert results.get(timeout=20) == "second"
    other.join(20)
