"""What MLmodel says under its flavors, as far as it is plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runbake.tracking.run import ModelDescription


def has(model: ModelDescription, name: str) -> bool:
    """MLmodel names this flavor."""
    return any(flavor.name == name for flavor in model.flavors)


def config_of(model: ModelDescription, name: str) -> Mapping[str, Any]:
    """What MLmodel says under one flavor; empty where that is no mapping, or nothing."""
    for flavor in model.flavors:
        if flavor.name == name:
            found = json.loads(flavor.config_json)
            return found if isinstance(found, dict) else {}
    return {}


def brings_code(model: ModelDescription) -> bool:
    """Modules were logged with the model (`code_paths`)."""
    return any(config_of(model, flavor.name).get("code") for flavor in model.flavors)
