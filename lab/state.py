"""Which background services run because of us, and for whom: `.runbake/lab/state.json`."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab.process import identity_of

LAB_DIRECTORY = Path(__file__).resolve().parent.parent / ".runbake" / "lab"


def container_name(what: str, directory: Path = LAB_DIRECTORY) -> str:
    """The name of this checkout's container; another checkout, whose engine is the same, has another."""
    return f"{what}-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A background process of ours: what it is, where it answers, who needs it.

    `identity` is `lab.process.identity_of(pid)` at its start. A service without users is stopped.
    """

    name: str
    pid: int
    identity: str
    address: str
    users: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """The process that was started is still there."""
        return identity_of(self.pid) == self.identity


class State:
    """The services that run, by name; survives this process.

    Whoever changes it holds `locked()` meanwhile, so that two commands do not start the same service twice.
    """

    def __init__(self, directory: Path = LAB_DIRECTORY) -> None:
        self.directory = directory
        self._file = directory / "state.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab for this process; others wait."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def services(self) -> dict[str, Service]:
        """Our services whose process lives."""
        try:
            entries = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        found = [Service(**{**entry, "users": tuple(entry["users"])}) for entry in entries]
        return {service.name: service for service in found if service.alive}

    def find(self, name: str) -> Service | None:
        """The live service of that name, if we started one."""
        return self.services().get(name)

    def put(self, service: Service) -> None:
        """Remember the service, in place of an earlier one of its name."""
        self._write({**self.services(), service.name: service})

    def use(self, name: str, user: str) -> None:
        """Note that `user` needs the service too, if it is one of ours."""
        service = self.find(name)
        if service is not None and user not in service.users:
            self.put(replace(service, users=(*service.users, user)))

    def release(self, user: str) -> tuple[Service, ...]:
        """Strike `user` off; returns the services that nobody needs now, the last started first.

        They stay in the state until `forget`: a stop that is interrupted can be done again.
        """
        kept = {
            name: replace(service, users=tuple(u for u in service.users if u != user))
            for name, service in self.services().items()
        }
        self._write(kept)
        return tuple(service for service in reversed(kept.values()) if not service.users)

    def forget(self, name: str) -> None:
        """Drop the service from the state."""
        self._write({key: service for key, service in self.services().items() if key != name})

    def _write(self, services: dict[str, Service]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps([asdict(service) for service in services.values()], indent=2))
        os.replace(temporary, self._file)
