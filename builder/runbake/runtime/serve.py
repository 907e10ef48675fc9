"""The image on this machine, for a person: published on loopback, otherwise as in production."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from runbake.errors import EngineError
from runbake.runtime.engine import Engine, RunningContainer
from runbake.runtime.prove import HARDENED, READY_WITHIN_S
from runbake_serving import contract


def provenance_of_url(url: str) -> bytes:
    """The label file that a server at this URL shows.

    Raises:
        EngineError: nothing answers there, or it shows none.
    """
    address = f"{url.rstrip('/')}/provenance"
    try:
        response = requests.get(address, timeout=10)
    except requests.RequestException as error:
        raise EngineError(f"nothing answers at {url}") from error
    if response.status_code != 200:
        raise EngineError(
            f"{address} answered {response.status_code}",
            hint=f"{contract.ENV_PAGE}=off hides it; trace the container or the image instead",
        )
    return response.content


class LocalServer:
    """A served image and its URL."""

    def __init__(self, container: RunningContainer) -> None:
        self._container = container
        self.url = f"http://{container.host_port(contract.PORT)}"

    def wait_until_ready(self) -> None:
        """Return when `/ping` answers 200.

        Raises:
            EngineError: the container ended, or was not ready in time; the message has the end of its log.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            status, code = self._container.state()
            if status not in ("created", "running"):
                raise EngineError(f"the container ended with {code}:\n{self._container.logs(tail=20)}")
            if self._answers():
                return
            time.sleep(0.1)
        raise EngineError(f"not ready after {READY_WITHIN_S:.0f} s:\n{self._container.logs(tail=20)}")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/ping", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def log_lines(self) -> Iterator[str]:
        """The log as it grows, until the container ends."""
        return self._container.follow()


@contextmanager
def serve_locally(
    engine: Engine, image: str, *, port: int, name: str | None, keep: bool
) -> Iterator[LocalServer]:
    """Serve an image on 127.0.0.1; port 0 takes a free one. Unless kept, it is removed at the end.

    Its answers name the digest where `image` does.

    A container of the same name is replaced if it is an image of runbake's.

    Raises:
        EngineError: the name belongs to a container of somebody else, or the image does not start.
    """
    if name and (old := engine.find_container(name)) is not None:
        if contract.LABEL_RUN_ID not in old.labels:
            raise EngineError(
                f"the container {name!r} is not runbake's: it runs {old.image}", hint="choose another --name"
            )
        old.remove()
    options = {key: value for key, value in HARDENED.items() if key != "network_mode"}
    container = engine.run_detached(
        image,
        name=name,
        read_only=True,
        environment={contract.ENV_IMAGE_DIGEST: image.partition("@")[2]},
        ports={f"{contract.PORT}/tcp": ("127.0.0.1", port or None)},
        **options,
    )
    try:
        yield LocalServer(container)
    except BaseException:
        container.remove()
        raise
    if not keep:
        container.remove()
