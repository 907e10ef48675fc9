"""What flavors do to a model's requirements, line by line."""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})


def _name_of(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line.split(" --hash", 1)[0].strip()).name)
    except InvalidRequirement:
        return ""  # a path or an option: the environment room says what is wrong with it


def without_mlflow(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """The lines that do not ask for MLflow in any of its packagings."""
    return tuple(line for line in requirements if _name_of(line) not in _MLFLOW)
