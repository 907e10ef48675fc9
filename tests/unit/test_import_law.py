"""Imports point upstream: the whole map of who may import whom, and each outside system's one door."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / "builder" / "runbake"
SERVING = ROOT / "serving_template" / "runbake_serving"

ALLOWED: dict[str, set[str]] = {
    "crew": set(),
    "datasets": set(),
    "diff": {"errors"},
    "errors": set(),
    "output": {"errors"},
    "redaction": set(),
    "scratch": set(),
    "aws": {"errors"},
    "config": {"errors"},
    "image": {"errors", "output"},
    "tracking": {"crew", "errors", "redaction"},
    "registry": {"errors", "image", "aws"},
    "environment": {"base", "crew", "errors", "image"},
    "base": {"errors", "image", "scratch"},
    "flavors": {"errors", "tracking"},
    # It names runs in tracking's words, and asks MLflow through tracking alone.
    "gocd": {"errors", "tracking"},
    "provenance": {"environment", "image", "redaction", "tracking"},
    "attestation": {"aws", "errors", "image", "registry"},
    "store": {"errors", "image", "scratch"},
    "batch": {"errors"},
    "evaluation": {"batch", "datasets", "diff", "errors", "provenance"},
    "runtime": {"batch", "errors", "image"},
    "published": {"errors", "image", "provenance", "registry"},
    "verify": {
        *("attestation", "crew", "errors", "image", "provenance", "published", "registry", "scratch"),
    },
    "sbom": {"base", "environment", "image"},
    "release": {
        "attestation",
        "base",
        "crew",
        "environment",
        "errors",
        "flavors",
        # A request carries the GoCD job that made it, a frozen value.
        "gocd",
        "image",
        "output",
        "provenance",
        "published",
        # What a statement repeats of MLflow's words is redacted as in the label file.
        "redaction",
        "registry",
        "runtime",
        "sbom",
        "store",
        "tracking",
    },
    "deploy": {"errors", "runtime"},
    # The door to Packer, a program: nothing is imported for it.
    "ami": {"aws", "errors", "image", "registry"},
    # A job runs on an AMI: its tags, and what its machine computes with, are said there.
    "jobs": {"ami", "aws", "errors"},
    "render": {"errors", "image", "output", "release", "store"},
    "report": {"errors", "output", "redaction", "release"},
    "trace": {"errors", "image", "provenance", "redaction", "tracking"},
}
"""What each room may import; `cli` may import everything and is imported by nobody."""

DOORS = {
    "mlflow": {"tracking"},
    "docker": {"runtime"},
    "boto3": {"aws"},
    "botocore": {"aws"},
    "uv": {"environment"},
    "requests": {"gocd", "registry", "runtime", "tracking"},
}
"""Which rooms may import what speaks to an outside system. `requests` speaks four protocols: GoCD's
API, the registry's, a served container's, and MLflow's artifact proxy."""

SIDE_DOORS = {"flavors/fasttext_logging.py": "mlflow"}
"""One file that may import what its room may not. It runs where models are trained and talks to no server
of its own accord: it writes a model directory in MLflow's format, with MLflow's own functions for flavors."""


def room_of(path: Path) -> str:
    return path.relative_to(BUILDER).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            if node.module in ("runbake", "runbake_serving"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[Path]:
    entrances = {BUILDER / "__init__.py", BUILDER / "__main__.py"}
    return sorted(set(BUILDER.rglob("*.py")) - entrances)


def test_every_room_is_on_the_map() -> None:
    """A new room gets a line in `ALLOWED`."""
    assert {room_of(path) for path in modules()} - {"cli"} == set(ALLOWED)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(BUILDER)))
def test_imports_point_upstream(path: Path) -> None:
    """No room imports one that is not upstream of it, and nobody imports `cli`."""
    room = room_of(path)
    used = {name.split(".")[1] for name in imports_of(path) if name.startswith("runbake.")}
    used -= {room, "__version__"}

    assert "cli" not in used
    assert room == "cli" or used <= ALLOWED[room], f"{room} imports {used - ALLOWED[room]}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(BUILDER)))
def test_each_outside_system_has_one_door(path: Path) -> None:
    """Only its door imports what speaks to an outside system; scripts for inside the image are exempt."""
    if path.name == "_inside.py":  # sent to the container as text, never imported here
        return
    side_door = SIDE_DOORS.get(str(path.relative_to(BUILDER)))
    for name in imports_of(path):
        if name.split(".")[0] == side_door:
            continue
        allowed = DOORS.get(name.split(".")[0])
        assert allowed is None or room_of(path) in allowed, f"{path} imports {name}"


def test_packer_has_one_door() -> None:
    """Only `ami` names the program."""
    for path in modules():
        started = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert room_of(path) == "ami" or not [node for node in started if node.value == "packer"], path


def test_the_map_has_no_cycles() -> None:
    """The rooms can be put in an order in which imports only point back."""
    left = {room: set(upstream) for room, upstream in ALLOWED.items()}
    while left:
        ready = {room for room, upstream in left.items() if not upstream & left.keys()}
        assert ready, f"a cycle among {sorted(left)}"
        left = {room: upstream for room, upstream in left.items() if room not in ready}


def test_the_toolkit_takes_only_the_contract_from_the_runtime() -> None:
    """From `runbake_serving`, `runbake` imports `contract`; `release` also asks where the package is.

    And `flavors` the module that goes into fastText models, which stands alone.
    """
    used = {
        (room_of(path), name)
        for path in modules()
        for name in imports_of(path)
        if name.split(".")[0] == "runbake_serving" and path.name not in ("fasttext.py", "fasttext_logging.py")
    }
    in_models = {
        name.rpartition(".")[2]
        for path in modules()
        if path.name in ("fasttext.py", "fasttext_logging.py")
        for name in imports_of(path)
        if name.split(".")[0] == "runbake_serving"
    }
    assert in_models <= {"fasttext_model", "flavors", "contract", "runbake_serving"}
    assert {name for room, name in used if room != "release"} <= {
        "runbake_serving",
        "runbake_serving.contract",
    } | {f"runbake_serving.contract.{name}" for name in ("VERSION",)}


def test_what_goes_into_a_model_imports_nothing_of_ours() -> None:
    """It is loaded where neither the toolkit nor the runtime is."""
    used = {name.split(".")[0] for name in imports_of(SERVING / "flavors" / "fasttext_model.py")}

    assert used - set(sys.stdlib_module_names) == {"fasttext", "numpy", "pandas", "yaml"}


def test_the_runtime_imports_nothing_of_the_toolkit() -> None:
    """`runbake_serving` lives in the image, where `runbake` is not."""
    for path in SERVING.rglob("*.py"):
        assert not [name for name in imports_of(path) if name.split(".")[0] == "runbake"], path


def test_the_contract_needs_the_standard_library_only() -> None:
    """Both sides can import it whatever is installed."""
    used = {name.split(".")[0] for name in imports_of(SERVING / "contract.py")}
    assert used <= set(sys.stdlib_module_names)


def test_no_production_module_imports_test_code() -> None:
    """Neither tests nor the lab reach what is shipped."""
    for path in [*modules(), *SERVING.rglob("*.py")]:
        used = {name.split(".")[0] for name in imports_of(path)}
        assert not used & {"tests", "lab", "pytest", "unittest"}, path
