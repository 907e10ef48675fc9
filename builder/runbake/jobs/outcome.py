"""How a job stands: from what EC2 says of its machine and what the machine left. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runbake.aws import Machine

State = Literal["starting", "running", "ended", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`status` is the exit status of `batch` once it ended; None where it never started, or nothing tells."""

    state: State
    status: int | None
    why: str

    @property
    def over(self) -> bool:
        """Whether waiting is of no use any more."""
        return self.state in ("ended", "lost")


def outcome_of(machine: Machine | None, record: Mapping[str, Any] | None) -> Outcome:
    """The outcome of a job with this machine, None where EC2 knows it no more, and this `_JOB.json`.

    A record settles it: the machine writes one in every case, last of all.
    """
    if record is not None:
        status = record.get("status")
        return Outcome(
            state="ended",
            status=status if isinstance(status, int) and not isinstance(status, bool) else None,
            why=str(record.get("why", ""))[:200],
        )
    if machine is None:
        return Outcome(state="lost", status=None, why="EC2 knows its machine no more, and there is no record")
    if not machine.alive:
        return Outcome(
            state="lost", status=None, why=f"its machine ended without a record: {machine.why}"[:300]
        )
    return Outcome(
        state="starting" if machine.state == "pending" else "running", status=None, why=machine.state
    )
