"""The registries that the contract holds for: the real one, and the fake that the fault tests trust."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runbake.registry import Registry
from tests.contract.registry.fake_registry import World, running_fake
from tests.contract.registry.parts import opened


@pytest.fixture(params=["real", "fake", "fake with referrers"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A client of each registry in turn."""
    if request.param == "real":
        with opened(request.getfixturevalue("registry_address")) as client:
            yield client
        return
    with (
        running_fake(World(referrers_api="referrers" in request.param)) as address,
        opened(address) as client,
    ):
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository that no other test writes to."""
    function = request.node.originalname.lower()
    return f"contract/{function}"


@pytest.fixture
def world() -> World:
    """The state of the fake."""
    return World()


@pytest.fixture
def fake(world: World) -> Iterator[str]:
    """The address of the fake."""
    with running_fake(world) as address:
        yield address


@pytest.fixture
def client(fake: str) -> Iterator[Registry]:
    """A client of the fake without credentials."""
    with opened(fake) as registry:
        yield registry
