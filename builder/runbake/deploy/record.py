"""What a run is told of where it is in service, and the rows of `runbake deployments`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from runbake.deploy.order import Door
from runbake.deploy.service import LABEL_AT, LABEL_DIGEST, LABEL_PREVIOUS, LABEL_REFERENCE, Service
from runbake_serving import contract

TAG = "runbake.endpoint."


def endpoint_tags(
    name: str, url: str, *, at: str, run_id: str, replaced: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Tags by run: where it is in service since `at`, and until then for the run that it takes over from.

    `run_id` is "" after an undeploy; `replaced` are the labels of the server before.
    """
    before = replaced.get(contract.LABEL_RUN_ID, "")
    found = {before: {TAG + name: f"{url} until {at}"}} if before and before != run_id else {}
    return {**found, **({run_id: {TAG + name: f"{url} since {at}"}} if run_id else {})}


def url_of(published: str, *, engine_host: str, hostname: str) -> str:
    """The address of a service for people; `engine_host` is DOCKER_HOST's, "" for this machine's engine.

    A service on every address is named by the engine's host.
    """
    door = Door.parse(published)
    if door is None:
        return f"http://{published}"
    remote = urlsplit(engine_host).hostname or "" if "://" in engine_host else ""
    address = ip_address(door.address)
    host = (remote or hostname) if address.is_unspecified else door.address
    if address.is_loopback and remote:
        host = remote  # reached from that machine only; 127.0.0.1 here is another machine
    return f"http://{Door(address=host, port=door.port)}"


def row_of(service: Service) -> dict[str, str]:
    """One line of the list of deployments, for people and as JSON."""
    labels: Mapping[str, str] = service.current.labels if service.current else {}
    return {
        "name": service.name,
        "state": service.state,
        "address": str(service.address or ""),
        "image": labels.get(LABEL_REFERENCE, ""),
        "digest": labels.get(LABEL_DIGEST, ""),
        "run": labels.get(contract.LABEL_RUN_ID, ""),
        "since": labels.get(LABEL_AT, ""),
        "previous": labels.get(LABEL_PREVIOUS, ""),
        "container": service.current.id[:12] if service.current else "",
    }
