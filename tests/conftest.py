"""Real parts for the tests; each is started once, fails with its log at a deadline, and is stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

import docker.errors
import pytest
from hypothesis import HealthCheck, settings

from lab.engine import find_engine
from lab.mlflow_server import running_mlflow
from lab.registry_server import running_registry

# A shell starts what runs in the background with SIGINT ignored, and our processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is timed: a busy machine is no defect, and neither is a slow generator of examples.
settings.register_profile("runbake", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("runbake")


@pytest.fixture(scope="session")
def registry_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT` of a real, empty registry; what the engine has of it is removed with it."""
    with running_registry(tmp_path_factory.mktemp("registry"), deadline_s=60) as address:
        yield address
        remove_images_of(address)


def remove_images_of(address: str) -> None:
    """Remove what the engine pulled from a registry that goes away, or built for it; what is in use stays."""
    client = find_engine()
    if client is None:
        return
    for image in client.api.images():
        for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())):
            if name.startswith(f"{address}/"):
                with suppress(docker.errors.APIError):
                    client.api.remove_image(name)


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`http://127.0.0.1:PORT` of a real MLflow 3 server on sqlite that proxies artifacts."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow"), deadline_s=180) as uri:
        yield uri
