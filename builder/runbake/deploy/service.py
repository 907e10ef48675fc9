"""What stands in an engine under the name of a service, and what is to be made of it. Pure.

The containers' names say where a deploy is, so that one that was killed is understood by the next:

    NAME            serves
    NAME-next-XXXX  starts; not proved ready
    NAME-old-XXXX   drains, or has drained: the previous one is kept for --rollback
    NAME-door       holds the port and the network namespace in which all of them serve

A new server is renamed only after it was proved ready: first the old one gives up the name, then the new one
takes it. So where nobody has the name and there is an old one, the next one was ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runbake.deploy.order import MANAGED, Door, Limits, Subject, grace_of
from runbake.runtime import DEPLOYED, ContainerFacts, ContainerSpec, door_command
from runbake_serving import contract

LABEL = f"{contract.LABEL_NAMESPACE}deploy."
LABEL_NAME = DEPLOYED
LABEL_ROLE = f"{LABEL}role"
LABEL_REFERENCE = f"{LABEL}image"
LABEL_DIGEST = f"{LABEL}digest"
LABEL_AT = f"{LABEL}at"
LABEL_ADDRESS = f"{LABEL}address"
LABEL_PREVIOUS = f"{LABEL}previous"
SERVER, DOOR, LOCK = "server", "door", "lock"

PROBE = "/tmp/runbake.sock"  # noqa: S108 -- the container's own
_TMPFS = {"/tmp": "size=64m,mode=1777"}  # noqa: S108
_USER = f"{contract.USER_ID}:{contract.USER_ID}"
_MARGIN_S = 10
"""A server is killed so long after its grace time."""
MIGRATE = {"net.ipv4.tcp_migrate_req": "1"}
"""Where one of two listeners closes, the kernel hands what waits at it to the other (Linux 5.14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The containers of one name. `half_done` are those that a deploy left when it was killed."""

    name: str
    current: ContainerFacts | None
    previous: ContainerFacts | None
    doors: tuple[ContainerFacts, ...]
    half_done: tuple[ContainerFacts, ...]
    renames: tuple[tuple[str, str], ...] = ()

    @property
    def door(self) -> ContainerFacts | None:
        """The door that the current server is reached by, if it is there."""
        wanted = self.current.network.removeprefix("container:") if self.current else ""
        return next((door for door in self.doors if door.id == wanted), None)

    @property
    def address(self) -> Door | None:
        """Where the current server is, or was, reached."""
        return Door.parse(self.current.labels.get(LABEL_ADDRESS, "")) if self.current else None

    @property
    def state(self) -> str:
        """One word or two about the service: serving, stopped, restarting, cut off (its door was lost)."""
        if self.current is None:
            return "absent"
        if not self.current.running:
            return "restarting" if self.current.status == "restarting" else "stopped"
        door = self.door
        if door is None or not door.running or door.started_at > self.current.started_at:
            return "cut off"
        return "serving"


def service_of(name: str, containers: Iterable[ContainerFacts]) -> Service:
    """The service that these containers are; `renames` (id, name) finish what was interrupted half-way."""
    ours = [one for one in containers if one.labels.get(LABEL_NAME) == name]
    servers = [one for one in ours if one.labels.get(LABEL_ROLE) == SERVER]
    by_age = sorted(servers, key=lambda one: one.labels.get(LABEL_AT, ""), reverse=True)
    nexts = [one for one in by_age if one.name.startswith(f"{name}-next-")]
    olds = [one for one in by_age if one.name.startswith(f"{name}-old-")]
    current = next((one for one in servers if one.name == name), None)
    renames: tuple[tuple[str, str], ...] = ()
    if current is None and olds:
        # The newest that was ready: the next one where it runs, else the one that gave up the name last.
        candidates = [one for one in nexts if one.running] or olds
        current = candidates[0]
        renames = ((current.id, name),)
    olds = [one for one in olds if one is not current]
    previous = olds[0] if olds else None
    half_done = [one for one in (*nexts, *olds) if one not in (current, previous)]
    return Service(
        name=name,
        current=current,
        previous=previous,
        doors=tuple(one for one in ours if one.labels.get(LABEL_ROLE) == DOOR),
        half_done=tuple(half_done),
        renames=renames,
    )


def services_of(containers: Iterable[ContainerFacts]) -> tuple[Service, ...]:
    """Every service among these containers that has a server, by name."""
    found = tuple(containers)
    names = sorted({one.labels[LABEL_NAME] for one in found if one.labels.get(LABEL_ROLE) == SERVER})
    return tuple(service_of(name, found) for name in names)


def labels_of(name: str, role: str) -> dict[str, str]:
    """What marks a container as ours."""
    return {LABEL_NAME: name, LABEL_ROLE: role}


def door_spec(name: str, door: Door, *, image: str, python: str, token: str, migrate: bool) -> ContainerSpec:
    """The container that holds the port; `token` is "" unless another door of this name stands."""
    return ContainerSpec(
        name=f"{name}-door-{token}" if token else f"{name}-door",
        image=image,
        labels=labels_of(name, DOOR),
        network="bridge",
        environment={"DOOR_PORT": str(contract.PORT), "DOOR_GRACE_S": "60"},
        entrypoint=door_command(python),
        publish=(contract.PORT, door.address, door.port),
        sysctls=MIGRATE if migrate else {},
        user=_USER,
        tmpfs={},
        pids=16,
        memory_bytes=0,
        cpus=0.0,
        restart=True,
        stop_s=70,
    )


def server_spec(
    name: str,
    subject: Subject,
    *,
    image: str,
    door: ContainerFacts,
    environment: Mapping[str, str],
    limits: Limits,
    previous: str,
    at: str,
    token: str,
) -> ContainerSpec:
    """The container that serves, beside the one that serves now. `at` is RFC 3339, `previous` a digest."""
    labels = {
        **labels_of(name, SERVER),
        LABEL_REFERENCE: subject.reference,
        LABEL_DIGEST: subject.digest,
        LABEL_AT: at,
        LABEL_ADDRESS: door.published,
        LABEL_PREVIOUS: previous,
        contract.LABEL_RUN_ID: subject.run_id,
    }
    ours = {
        contract.ENV_IMAGE_DIGEST: subject.digest,
        contract.ENV_HOST: "0.0.0.0",  # noqa: S104 -- of a namespace of its own; the door decides who comes in
        contract.ENV_PORT: str(contract.PORT),
        contract.ENV_PROBE: PROBE,
        contract.ENV_REUSE_PORT: "on",
    }
    return ContainerSpec(
        name=f"{name}-next-{token}",
        image=image,
        labels=labels,
        network=f"container:{door.id}",
        environment={**environment, **ours},
        sysctls={},
        user=_USER,
        tmpfs=_TMPFS,
        pids=limits.pids,
        memory_bytes=limits.memory_bytes,
        cpus=limits.cpus,
        # Only once it was ready: one that cannot start is not to try for ever.
        restart=False,
        stop_s=stop_s(environment),
    )


def stop_s(environment: Mapping[str, str]) -> int:
    """Seconds from the word to end to the kill."""
    return grace_of(environment) + _MARGIN_S


def variables_of(facts: ContainerFacts, image_environment: Iterable[str]) -> dict[str, str]:
    """What a server was given at its deploy: its variables without the image's and those that deploy sets."""
    inherited = set(image_environment)
    pairs = (entry.partition("=")[::2] for entry in facts.environment if entry not in inherited)
    return {name: value for name, value in pairs if name not in MANAGED}
