"""Each model is saved once, and asked through MLflow's own server and through ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from runbake_serving.app import create_app
from runbake_serving.model.model import load_model
from runbake_serving.settings import Settings

with warnings.catch_warnings():
    # MLflow warns of its own type hints while it is imported, starlette of httpx.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    from tests.integration.serving.models_to_serve import CASES, Case, save


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model behind both servers."""

    case: Case
    path: Path
    ours: TestClient
    always_dataframe: TestClient
    mlflows: TestClient


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """A function from a case's name to its model behind both servers."""

    @cache
    def of(name: str) -> Served:
        path = tmp_path_factory.mktemp("models") / name
        case = CASES[name]()
        save(case, path)
        theirs = scoring_server.init(mlflow.pyfunc.load_model(str(path)))
        return Served(
            case=case,
            path=path,
            ours=client_of(path, trusted_types=case.trusted_types),
            always_dataframe=client_of(path, always_dataframe=True, trusted_types=case.trusted_types),
            mlflows=TestClient(theirs, raise_server_exceptions=False),
        )

    return of


def client_of(
    path: Path, *, always_dataframe: bool = False, trusted_types: tuple[str, ...] = ()
) -> TestClient:
    """Our application around the model at `path`, without a process of its own."""
    model = load_model(path, always_dataframe=always_dataframe, trusted_types=trusted_types)
    return TestClient(create_app(Settings(), model, None))
