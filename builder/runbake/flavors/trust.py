"""Which types in a skops file are trusted: what the model asks for, as far as whoever builds trusts it.

skops makes objects of types that it knows to be harmless, and refuses others unless they are trusted by name.
MLflow writes the names that the trainer trusted into MLmodel. Taken from there they would protect nobody: a
file made to do harm would name what it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from runbake.errors import UntrustedTypes

_SHOWN = 10


def trusted_types_of(config: Mapping[str, Any], trusted: Collection[str]) -> tuple[str, ...]:
    """The types that a flavor's skops file asks to trust, sorted; all of them are in `trusted`.

    Raises:
        UntrustedTypes: others are asked for too; the message names them.
    """
    asked = {str(name) for name in _listed(config.get("skops_trusted_types"))}
    unknown = sorted(asked.difference(trusted))
    if unknown:
        shown = [name[:200] for name in unknown[:_SHOWN]]
        raise UntrustedTypes(
            f"the model's skops file holds types that nobody here trusts: {', '.join(shown)}"
            + (f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""),
            hint="if you know them to be harmless when they are loaded: "
            + " ".join(f"--trust-type {name}" for name in shown)
            + "; in runbake.toml, trust-type under [containerize]",
        )
    return tuple(sorted(asked))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
