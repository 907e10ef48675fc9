"""What the files of a model directory say: MLmodel, python_env.yaml, requirements.txt.

Parsed here and not by MLflow, whose `Model.load` needs numpy and imports what the model names. Everything in
these files was written by whoever logged the model: nothing is executed, and sizes are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from runbake.errors import ArtifactMissing, NoModel
from runbake.tracking.run import Flavor, ModelDescription

MLMODEL = "MLmodel"
PYTHON_ENV = "python_env.yaml"
REQUIREMENTS = "requirements.txt"
CONSTRAINTS = "constraints.txt"
SMALL = (MLMODEL, PYTHON_ENV, REQUIREMENTS, CONSTRAINTS)
"""The files that a description is read from."""

LARGEST_BYTES = 8 << 20
"""None of them is larger."""
# As pip does: a comment starts at the line's start or after white space ("pkg @ url#egg" has none).
_COMMENT = re.compile(r"(^|\s+)#.*$")
# Lines that ask for something (`-e .`, `-r more.txt`) stay: `environment` says what is wrong with them.
_OPTION = re.compile(r"^\s*-(?!e|r\b|-editable\b|-requirement\b).*$|\s+--\w.*$")
_LOG_AGAIN = "log the model again with mlflow.<flavor>.log_model"


def description_of(root: Path, paths: Collection[str]) -> ModelDescription:
    """What a model says of itself; its small files (`SMALL`) are in `root`, all of its files are `paths`.

    Raises:
        NoModel: MLmodel is absent or malformed; the message names file and line.
        ArtifactMissing: requirements.txt, or a file that MLmodel names, is not there.
    """
    text = _text_of(root / MLMODEL, missing=NoModel)
    document = _mapping(text, MLMODEL)
    flavors = document.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise NoModel(f"{MLMODEL} names no flavors (key 'flavors')", hint=_LOG_AGAIN)
    example = _mapping_or_empty(document.get("saved_input_example_info"))
    for key in ("artifact_path", "serving_input_path"):
        _refuse_missing_file(example.get(key), paths)
    for config in flavors.values():
        _refuse_missing_file(_mapping_or_empty(config).get("pickled_model"), paths)
    return ModelDescription(
        flavors=tuple(
            Flavor(name=str(name), config_json=_json(config, f"{MLMODEL}: flavors.{name}"))
            for name, config in sorted(flavors.items(), key=lambda item: str(item[0]))
        ),
        mlflow_version=str(document.get("mlflow_version") or ""),
        python_version=_python_version(root, text),
        requirements=requirements_of(_text_of(root / REQUIREMENTS, missing=ArtifactMissing)),
        constraints=_constraints(root),
        signature_json=_signature(document.get("signature")),
    )


def requirements_of(text: str) -> tuple[str, ...]:
    """The requirement lines in order: no comments, blank lines or options, continued lines joined.

    Options (`--index-url …`, `--hash=…`) are dropped and returned nowhere: which index is used is the
    builder's choice, and an index URL in a model may hold somebody's password. `-e …` and `-r …` ask for
    packages, so they stay, for a lock to refuse. With MLFLOW_LOCK_MODEL_DEPENDENCIES the original
    requirements stand as comments above the locked ones.
    """
    lines = text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines()
    bare = (_OPTION.sub("", _COMMENT.sub("", line)).strip() for line in lines)
    return tuple(line for line in bare if line)


def _constraints(root: Path) -> tuple[str, ...]:
    # MLflow writes them beside a requirements.txt that begins with "-c constraints.txt".
    if not (root / CONSTRAINTS).is_file():
        return ()
    return requirements_of(_text_of(root / CONSTRAINTS, missing=ArtifactMissing))


def _python_version(root: Path, mlmodel: str) -> str:
    """From python_env.yaml, else from the pyfunc flavor, else ""."""
    if (root / PYTHON_ENV).is_file():
        python = _strings(_text_of(root / PYTHON_ENV, missing=ArtifactMissing), PYTHON_ENV).get("python")
        if isinstance(python, str) and python:
            return python
    flavors = _mapping_or_empty(_strings(mlmodel, MLMODEL).get("flavors"))
    return str(_mapping_or_empty(flavors.get("python_function")).get("python_version") or "")


def _signature(signature: object) -> str:
    """`{"inputs": …, "outputs": …, "params": …}`; MLmodel holds each as JSON text inside YAML."""
    if not isinstance(signature, dict):
        return ""
    return _json({k: _inner_json(v, str(k)) for k, v in signature.items()}, f"{MLMODEL}: signature")


def _inner_json(value: object, key: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise NoModel(f"{MLMODEL}: signature.{key} is not JSON: {error}", hint=_LOG_AGAIN) from error


def _refuse_missing_file(name: object, paths: Collection[str]) -> None:
    if name and str(name) not in paths:
        raise ArtifactMissing(
            f"{MLMODEL} names the file {str(name)[:200]!r}, which the model does not have", hint=_LOG_AGAIN
        )


def _text_of(path: Path, *, missing: type[NoModel] | type[ArtifactMissing]) -> str:
    if not path.is_file():
        raise missing(f"the model has no {path.name}", hint=_LOG_AGAIN)
    if path.stat().st_size > LARGEST_BYTES:
        raise NoModel(f"{path.name} is larger than {LARGEST_BYTES >> 20} MiB", hint=_LOG_AGAIN)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoModel(f"{path.name} is not UTF-8 (byte {error.start})", hint=_LOG_AGAIN) from error


def _mapping(text: str, name: str) -> dict[str, Any]:
    return _loaded(text, name, yaml.SafeLoader)


def _strings(text: str, name: str) -> dict[str, Any]:
    # Every scalar as text: `python: 3.10` is the number 3.1 otherwise.
    return _loaded(text, name, yaml.BaseLoader)


def _loaded(text: str, name: str, loader: type[yaml.SafeLoader] | type[yaml.BaseLoader]) -> dict[str, Any]:
    try:
        document = yaml.load(text, Loader=loader)  # noqa: S506 - both loaders make plain data only
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise NoModel(f"{name}{line}: {error.problem}", hint=_LOG_AGAIN) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NoModel(f"{name}: not YAML: {str(error)[:200]}", hint=_LOG_AGAIN) from error
    if not isinstance(document, dict):
        raise NoModel(f"{name}, line 1: not a mapping of keys to values", hint=_LOG_AGAIN)
    return document


def _mapping_or_empty(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(value: object, name: str) -> str:
    """Canonical JSON of plain data; YAML's aliases may describe far more data than they are long."""
    encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    pieces: list[str] = []
    size = 0
    try:
        for piece in encoder.iterencode(value):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST_BYTES:
                raise NoModel(f"{name} unfolds to more than {LARGEST_BYTES >> 20} MiB", hint=_LOG_AGAIN)
    except (TypeError, ValueError, RecursionError) as error:
        raise NoModel(f"{name} cannot be written as JSON: {str(error)[:200]}", hint=_LOG_AGAIN) from error
    return "".join(pieces)
