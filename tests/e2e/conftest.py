"""The world of the end-to-end tests, made once in each process."""

from __future__ import annotations

import pytest

from lab.base import ensure_base
from tests.e2e.world import World, log_odd_runs, log_wine


@pytest.fixture(scope="session")
def world(registry_address: str, mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Registry, MLflow server, a base image in the registry, and an empty cache."""
    return World(
        registry=registry_address,
        mlflow_uri=mlflow_uri,
        base=ensure_base(f"{registry_address}/base"),
        directory=tmp_path_factory.mktemp("world"),
    )


@pytest.fixture(scope="session")
def wine_run(world: World) -> str:
    """A promoted run with one scikit-learn classifier."""
    return log_wine(world.mlflow_uri)


@pytest.fixture(scope="session")
def wine_image(world: World, wine_run: str) -> str:
    """The pushed, proven and tagged image of `wine_run`, by digest."""
    said = world.done("containerize", wine_run, "--repository", f"{world.registry}/wine")
    return said.out.strip()


@pytest.fixture(scope="session")
def odd_runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ids of runs that cannot be built, by what is wrong with each."""
    return log_odd_runs(world.mlflow_uri, tmp_path_factory.mktemp("odd"))
