"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "FAILED", "REFUSED", "DIFFERS", "UNSIGNED", "note"]
"""FAILED is not what it says; REFUSED is true, but not what the policy asks for; DIFFERS is not what came of
building it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Everything that was looked at, in its order."""

    reference: str
    checks: tuple[Check, ...]

    def with_outcome(self, outcome: Outcome) -> tuple[Check, ...]:
        """The checks that ended so."""
        return tuple(check for check in self.checks if check.outcome == outcome)

    def to_json(self) -> dict[str, object]:
        """The verdict as a document."""
        return {
            "reference": self.reference,
            "verified": not any(check.outcome in ("FAILED", "REFUSED", "DIFFERS") for check in self.checks),
            "checks": [
                {"what": check.what, "outcome": check.outcome, "text": check.text} for check in self.checks
            ],
        }
