"""The image on this machine, for a person: published on loopback, otherwise as in production."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from runbake.errors import EngineError, InvalidReference, TraceError
from runbake.runtime.container import RunningContainer
from runbake.runtime.engine import Engine
from runbake.runtime.prove import HARDENED, READY_WITHIN_S
from runbake_serving import contract

_ASKING_TIMEOUT_S = (3.0, 10.0)
_LABEL_FILE_LIMIT_BYTES = 16 << 20
"""Any server can answer anything."""

DEPLOYED = f"{contract.LABEL_NAMESPACE}deploy.name"
"""The label that `deploy`, which is downstream, puts on the containers of its services."""


def provenance_of_url(url: str) -> bytes:
    """The label file that a server at this URL shows.

    Raises:
        InvalidReference: it is no URL.
        TraceError: nothing answers there, or it shows none.
    """
    address, shown = f"{url.rstrip('/')}/provenance", _without_userinfo(url)
    try:
        with requests.get(address, timeout=_ASKING_TIMEOUT_S, stream=True) as response:
            if response.status_code != 200:
                raise TraceError(
                    f"{shown}/provenance answered {response.status_code}",
                    hint=f"is it a model server of runbake's? {contract.ENV_PAGE}=off hides it; trace the "
                    "container or the image instead",
                )
            return _small(response, shown)
    # Of a URL without a host, or with one that cannot be.
    except (requests.exceptions.InvalidURL, UnicodeError) as error:
        raise InvalidReference(f"not a URL: {shown[:200]!r}", hint="write http://HOST:PORT") from error
    except requests.RequestException as error:
        raise TraceError(
            f"nothing answers at {shown}",
            hint="is the server up? Where it is gone, trace its container or its image instead",
        ) from error


def _without_userinfo(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _small(response: requests.Response, shown: str) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(1 << 16):
        body += chunk
        if len(body) > _LABEL_FILE_LIMIT_BYTES:
            raise TraceError(f"{shown}/provenance answered with more than any label file has")
    return bytes(body)


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
        """The log as it grows, until the container ends.

        Raises:
            EngineError: it ended by itself, and not well.
        """
        yield from self._container.follow()
        status, code = self._container.state()
        if status not in ("created", "running") and code:
            raise EngineError(
                f"the container ended with {code}", hint="the lines before this are the last of its log"
            )


@contextmanager
def serve_locally(
    engine: Engine, image: str, *, port: int, name: str | None, keep: bool
) -> Iterator[LocalServer]:
    """Serve an image on 127.0.0.1; port 0 takes a free one. Unless kept, it is removed at the end.

    Its answers name the digest where `image` does.

    A container of the same name is replaced if it is an image of runbake's, and no deployed service.

    Raises:
        EngineError: the name belongs to a container of somebody else or to a service, or the image does not
            start.
    """
    if name and (old := engine.find_container(name)) is not None:
        if contract.LABEL_RUN_ID not in old.labels:
            raise EngineError(
                f"the container {name!r} is not runbake's: it runs {old.image}", hint="choose another --name"
            )
        if (service := old.labels.get(DEPLOYED)) is not None:
            raise EngineError(
                f"the container {name!r} serves the deployed {service}",
                hint=f"choose another --name, or first: runbake undeploy {service}",
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
