"""Whether an estimator's file runs code when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbake.flavors.flavor import Format


def format_of(config: Mapping[str, Any]) -> Format:
    """A skops file is safe, as only types that are known or trusted are made; every pickle is executable."""
    return "safe" if config.get("serialization_format") == "skops" else "executable"
