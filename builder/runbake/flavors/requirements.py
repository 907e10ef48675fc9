"""What flavors do to a model's requirements, line by line."""

from __future__ import annotations

from collections.abc import Collection

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})


def _name_of(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line.split(" --hash", 1)[0].strip()).name)
    except InvalidRequirement:
        return ""  # a path or an option: the environment room says what is wrong with it


def named(requirements: tuple[str, ...]) -> frozenset[str]:
    """The normalised names of the distributions that these lines ask for."""
    return frozenset(_name_of(line) for line in requirements)


def with_skinny_mlflow(requirements: tuple[str, ...], version: str) -> tuple[str, ...]:
    """The lines with MLflow as `mlflow-skinny`, in the version that wrote the model where they say none.

    Versions, extras and markers stay as they are.
    """
    lines = tuple(_skinny(line, version) for line in requirements)
    return lines if "mlflow-skinny" in named(lines) else (*lines, _pinned(version))


def _skinny(line: str, version: str) -> str:
    if _name_of(line) != "mlflow":
        return line
    requirement = Requirement(line.split(" --hash", 1)[0].strip())
    if requirement.url or not (requirement.specifier or version):
        return line  # the environment room says what is wrong with it
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"mlflow-skinny{extras}{requirement.specifier or f'=={version}'}{marker}"


def _pinned(version: str) -> str:
    return f"mlflow-skinny=={version}" if version else "mlflow-skinny"


def without_mlflow(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """The lines that do not ask for MLflow in any of its packagings."""
    return without(requirements, _MLFLOW)


def without(requirements: tuple[str, ...], names: Collection[str]) -> tuple[str, ...]:
    """The lines that ask for none of these distributions; `names` are canonical."""
    return tuple(line for line in requirements if _name_of(line) not in names)
