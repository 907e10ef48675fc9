"""A new server beside the old one, on the same port; the old one drains when the new one is ready.

The story, in order: lock the name; finish or undo what a killed deploy left; open the door unless it is
open; start the new server; wait until it answers on its own socket; give it the name; drain the old one.
Until the new one has the name, any failure removes it and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

from runbake.deploy.order import Door, Limits, Subject
from runbake.deploy.service import (
    LABEL_AT,
    LABEL_DIGEST,
    LABEL_NAME,
    LABEL_REFERENCE,
    LOCK,
    PROBE,
    Service,
    door_spec,
    labels_of,
    server_spec,
    service_of,
    stop_s,
    variables_of,
)
from runbake.errors import ConfigError, EngineError, NotReady
from runbake.runtime import ContainerFacts, Engine, Standing
from runbake_serving import contract

_TAIL = 30


class Step(Protocol):
    """One stage of the story."""

    def say(self, text: str) -> None:
        """What came of it."""


class Story(Protocol):
    """Where the stages are told."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """One stage."""

    def warn(self, text: str) -> None:
        """Something that is not as it should be, and does not stop us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be in service; `image` is its id in the engine.

    Where `address` or `port` is None, the service keeps what it has; a new one is at 127.0.0.1:8080.
    """

    name: str
    subject: Subject
    image: str
    address: str | None
    port: int | None
    environment: Mapping[str, str]
    limits: Limits
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What serves now. `replaced` has labels of the one before it; `published` is `HOST:PORT`."""

    name: str
    subject: Subject
    published: str
    at: str
    replaced: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """The engine, the clock (RFC 3339 with milliseconds) and randomness of a deploy, and who hears of it."""

    engine: Engine
    now: Callable[[], str]
    token: Callable[[], str]
    story: Story

    @property
    def standing(self) -> Standing:
        """The containers of deploys."""
        return Standing(self.engine, LABEL_NAME)


DEFAULT_DOOR = Door(address="127.0.0.1", port=contract.PORT)


def deploy(order: Order, hands: Hands) -> Deployed:
    """Put the image into service under its name.

    Raises:
        NotReady: it did not get ready and was removed; what served before still does.
        DeployUnderWay: somebody else deploys this name.
        EngineError: the engine refused, or the name is another container's.
    """
    return _Takeover(hands, order.name, order.image).deploy(order)


def roll_back(name: str, hands: Hands, *, timeout_s: float) -> Deployed:
    """Put the server before the current one into service again: its image, its variables, its limits.

    Raises:
        ConfigError: there is none.
        NotReady, DeployUnderWay, EngineError: as `deploy`.
    """
    return _Takeover(hands, name, _an_image_of(name, hands)).roll_back(timeout_s)


def _order_of(previous: ContainerFacts, engine: Engine, name: str, timeout_s: float) -> Order:
    return Order(
        name=name,
        subject=Subject(
            reference=previous.labels[LABEL_REFERENCE],
            digest=previous.labels[LABEL_DIGEST],
            labels=previous.labels,
        ),
        image=previous.image,
        address=None,
        port=None,
        environment=variables_of(previous, engine.environment_of(previous.image)),
        limits=Limits(memory_bytes=previous.memory_bytes, cpus=previous.cpus, pids=previous.pids),
        timeout_s=timeout_s,
    )


def undeploy(name: str, hands: Hands) -> Mapping[str, str]:
    """Drain and remove the service and everything that was made for it; the labels of what served.

    Raises:
        ConfigError: nothing is deployed under this name; what a killed first deploy left is removed.
        DeployUnderWay, EngineError: as `deploy`.
    """
    return _Takeover(hands, name, _an_image_of(name, hands)).undeploy()


def _an_image_of(name: str, hands: Hands) -> str:
    """The image of any container of the name: the lock is made of it. All else is read when the lock is held.

    A first deploy that was killed may have left no more than a door.
    """
    found = service_of(name, hands.standing.all(name))
    every = [
        one for one in (found.current, found.previous, *found.half_done, *found.doors) if one is not None
    ]
    if not every:
        raise _nothing_deployed(name)
    return every[0].image


def _nothing_deployed(name: str) -> ConfigError:
    return ConfigError(f"nothing is deployed as {name!r}", hint="`runbake deployments` lists what is")


class _Takeover:
    """The effects on the containers of one name; `image` is what the lock is made of."""

    def __init__(self, hands: Hands, name: str, image: str) -> None:
        self._hands, self._name, self._image = hands, name, image
        self._standing, self._story = hands.standing, hands.story

    def deploy(self, order: Order) -> Deployed:
        with self._locked():
            return self._carried_out(order, self._settled())

    def roll_back(self, timeout_s: float) -> Deployed:
        with self._locked():
            service = self._settled()
            if service.current is None:
                raise _nothing_deployed(self._name)
            if service.previous is None:
                raise ConfigError(
                    f"{self._name} has no deployment before this one", hint="deploy the image that you want"
                )
            order = _order_of(service.previous, self._hands.engine, self._name, timeout_s)
            return self._carried_out(order, service)

    def _carried_out(self, order: Order, service: Service) -> Deployed:
        with self._story.step("door") as step:
            door, is_new = self._door(service, order)
            step.say(door.published)
        try:
            fresh = self._ready(order, service, door)
            self._give_name(fresh, service.current)
        except BaseException:
            if is_new:
                self._standing.remove(door.id)
            raise
        self._retire(service)
        self._clear(keep=door.id)
        return Deployed(
            name=self._name,
            subject=order.subject,
            published=door.published,
            at=fresh.labels[LABEL_AT],
            replaced=service.current.labels if service.current else {},
        )

    def undeploy(self) -> Mapping[str, str]:
        with self._locked():
            service = self._settled()
            if service.current is not None:
                with self._story.step("drain") as step:
                    step.say(self._drained(service.current))
                self._standing.remove(service.current.id)
            if service.previous is not None:
                self._standing.remove(service.previous.id)
            for door in service.doors:
                self._standing.remove(door.id)
            if service.current is None and service.previous is None:
                raise _nothing_deployed(self._name)
        return service.current.labels if service.current else {}

    def _locked(self) -> AbstractContextManager[None]:
        labels = labels_of(self._name, LOCK)
        return self._standing.locked(f"{self._name}-lock", self._image, self._python_of(self._image), labels)

    def _python_of(self, image: str) -> str:
        entrypoint = self._hands.engine.entrypoint(image)
        if not entrypoint:
            raise EngineError(f"the image of {self._name} has no entrypoint: it was not made by runbake")
        return entrypoint[0]

    def _settled(self) -> Service:
        """The service, after what a killed deploy left half done was finished or undone."""
        found = service_of(self._name, self._standing.all(self._name))
        for container_id, name in found.renames:
            self._standing.restart_always(container_id)
            self._standing.rename(container_id, name)
        for left in found.half_done:
            with self._story.step("clean up") as step:
                step.say(f"{left.name}, left by a deploy that was interrupted")
                self._drained(left)
                self._standing.remove(left.id)
        if found.previous is not None and found.previous.running:
            with self._story.step("drain") as step:
                step.say(self._drained(found.previous))
        other = self._standing.find(self._name)
        if other is not None and other.labels.get(LABEL_NAME) != self._name:
            raise EngineError(
                f"a container that runbake did not deploy is called {self._name}",
                hint="choose another --name",
            )
        return service_of(self._name, self._standing.all(self._name)) if found.renames else found

    def _door(self, service: Service, order: Order) -> tuple[ContainerFacts, bool]:
        """The door to serve behind, and whether it is new."""
        known = service.address or DEFAULT_DOOR
        wanted = Door(address=order.address or known.address, port=order.port or known.port)
        for one in service.doors:
            if one.running and one.published == str(wanted):
                return one, False
            if not one.running:
                self._standing.remove(one.id)
        standing = any(one.running for one in service.doors)
        return self._open(wanted, token=self._hands.token() if standing else ""), True

    def _open(self, wanted: Door, *, token: str) -> ContainerFacts:
        def spec(migrate: bool) -> str:
            made = door_spec(
                self._name,
                wanted,
                image=self._image,
                python=self._python_of(self._image),
                token=token,
                migrate=migrate,
            )
            return self._standing.start(made)

        try:
            return self._standing.facts(spec(migrate=True))
        except EngineError as error:
            if "tcp_migrate_req" not in str(error):
                raise
        return self._standing.facts(spec(migrate=False))

    def _ready(self, order: Order, service: Service, door: ContainerFacts) -> ContainerFacts:
        previous = service.current.labels.get(LABEL_DIGEST, "") if service.current else ""
        spec = server_spec(
            order.name,
            order.subject,
            image=order.image,
            door=door,
            environment=order.environment,
            limits=order.limits,
            previous=previous,
            at=self._hands.now(),
            token=self._hands.token(),
        )
        with self._story.step("start") as step:
            made = self._standing.start(spec)
            step.say(f"{spec.name} {made[:12]}")
        try:
            with self._story.step("ready") as step:
                python = self._python_of(order.image)
                if not self._standing.is_ready(made, python, PROBE, within_s=order.timeout_s):
                    raise self._not_ready(order, made, service)
                step.say(f"{order.subject.digest[:19]}… answers /ping")
            return self._standing.facts(made)
        except BaseException:
            self._withdraw(made, spec.stop_s)
            raise

    def _not_ready(self, order: Order, made: str, service: Service) -> NotReady:
        facts = self._standing.facts(made)
        how = "was not ready" if facts.running else f"ended with {facts.exit_code}"
        still = "the one before it still serves" if service.state == "serving" else "nothing serves"
        log = self._standing.logs(made, tail=_TAIL)
        return NotReady(
            f"{order.subject.reference} {how} within {order.timeout_s:.0f} s and was removed; {still}\n"
            f"{log}".rstrip(),
            hint="`runbake run IMAGE` shows more; a large model may need a longer --timeout or more --memory",
        )

    def _give_name(self, fresh: ContainerFacts, old: ContainerFacts | None) -> None:
        """Both renames or none: where one fails, the old one has its name and the new one is removed."""
        with ExitStack() as undone:
            undone.callback(self._withdraw, fresh.id, _stop_s(fresh))
            self._standing.restart_always(fresh.id)
            if old is not None:
                self._standing.rename(old.id, f"{self._name}-old-{self._hands.token()}")
                undone.callback(self._standing.rename, old.id, self._name)
            self._standing.rename(fresh.id, self._name)
            undone.pop_all()

    def _withdraw(self, container_id: str, stop_s: int) -> None:
        # It may have been ready when we gave up on it, and have callers: drain, do not kill.
        self._standing.stop(container_id, within_s=stop_s)
        self._standing.remove(container_id)

    def _retire(self, service: Service) -> None:
        if service.current is not None:
            with self._story.step("drain") as step:
                step.say(self._drained(service.current))

    def _drained(self, old: ContainerFacts) -> str:
        if not old.running:
            return f"{old.name} did not run"
        code = self._standing.stop(old.id, within_s=_stop_s(old))
        if code == contract.OVERRAN:
            self._story.warn(
                f"{old.name} cut requests off when its grace time was over: raise RUNBAKE_GRACE_S"
            )
        elif code != 0:
            self._story.warn(f"{old.name} ended with {code}")
        digest = old.labels.get(LABEL_DIGEST, old.id)
        return f"{digest[:19]}… answered what it had" if code == 0 else f"{digest[:19]}… ended with {code}"

    def _clear(self, *, keep: str) -> None:
        """Remove what nothing leads back to: servers older than the previous one, and doors not in use."""
        found = service_of(self._name, self._standing.all(self._name))
        for left in found.half_done:
            self._standing.remove(left.id)
        for door in found.doors:
            if door.id != keep:
                self._standing.remove(door.id)


def _stop_s(server: ContainerFacts) -> int:
    return stop_s(dict(entry.partition("=")[::2] for entry in server.environment))
