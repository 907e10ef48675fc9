"""What the label file says, as far as it says it in the expected form: text for people, never trusted.

The label file is written by the toolkit from what MLflow holds, so that every text in it is hostile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbake_serving.label.provenance import Provenance

TEXT_LIMIT = 4_096
MOST_ITEMS = 500

# What nobody sees: it could turn a text around, or hide a part of it.
_UNSEEN = dict.fromkeys(
    (*range(0x20), 0x7F, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"
) | {0x09: " ", 0x0A: "\n", 0x0D: " "}

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data that the run used."""

    name: str
    context: str
    digest: str
    source: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of the model."""

    path: str
    size: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Where the model comes from; a fact that is not there is empty."""

    run_id: str = ""
    run_name: str = ""
    experiment: str = ""
    experiment_id: str = ""
    user: str = ""
    started_at: str = ""
    ended_at: str = ""
    parameters: Pairs = ()
    metrics: Pairs = ()
    source: Mapping[str, str] = field(default_factory=dict)
    model_id: str = ""
    name: str = ""
    version: str = ""
    flavor: str = ""
    format: str = ""
    mlflow_version: str = ""
    python: str = ""
    files: tuple[File, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    platform: str = ""
    base_digest: str = ""
    lock_digest: str = ""
    packages: Pairs = ()


def facts_of(provenance: Provenance | None) -> Facts:
    """The facts of this label file; none where there is no file."""
    if provenance is None:
        return Facts()
    document = _object(json.loads(provenance.body))
    run, model = _object(document.get("run")), _object(document.get("model"))
    environment = _object(document.get("environment"))
    lock = _object(environment.get("lock"))
    experiment = _object(run.get("experiment"))
    return Facts(
        run_id=_text(run.get("id")),
        run_name=_text(run.get("name")),
        experiment=_text(experiment.get("name")),
        experiment_id=_text(experiment.get("id")),
        user=_text(run.get("user")),
        started_at=_text(run.get("startedAt")),
        ended_at=_text(run.get("endedAt")),
        parameters=_pairs(run.get("parameters")),
        metrics=tuple(
            (_text(name), _number(_object(metric).get("value")))
            for name, metric in _first(_object(run.get("metrics")).items())
        ),
        source=dict(_pairs(run.get("source"))),
        model_id=_text(model.get("id")),
        name=_text(model.get("registeredName")) or _text(model.get("name")),
        version=_text(model.get("registeredVersion")),
        flavor=_text(model.get("flavor")),
        format=_text(model.get("format")),
        mlflow_version=_text(model.get("mlflowVersion")),
        python=_text(environment.get("python")) or _text(model.get("pythonVersion")),
        files=tuple(_file(_object(one)) for one in _list(model.get("files"))),
        datasets=tuple(_dataset(_object(one)) for one in _list(document.get("data"))),
        platform=_text(environment.get("platform")),
        base_digest=_text(_object(environment.get("base")).get("digest")),
        lock_digest=_text(lock.get("digest")),
        packages=_packages(lock),
    )


def _file(one: Mapping[str, Any]) -> File:
    return File(path=_text(one.get("path")), size=_text(one.get("size")), digest=_text(one.get("sha256")))


def _dataset(one: Mapping[str, Any]) -> Dataset:
    return Dataset(
        name=_text(one.get("name")),
        context=_text(one.get("context")),
        digest=_text(_object(one.get("mlflowDigest")).get("value")),
        source=_text(one.get("source")),
        kind=_text(one.get("sourceType")),
    )


def _packages(lock: Mapping[str, Any]) -> Pairs:
    wheels = [_object(one) for one in _list(lock.get("wheels"))]
    return tuple((_text(one.get("name")), _text(one.get("version"))) for one in wheels)


def _pairs(value: Any) -> Pairs:
    return tuple((_text(name), _text(one)) for name, one in _first(_object(value).items()))


def _first(items: Any) -> list[Any]:
    return list(items)[:MOST_ITEMS]


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return _first(value) if isinstance(value, list) else []


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        return ""
    text = str(value)[: TEXT_LIMIT + 1].encode("utf-8", "replace").decode().translate(_UNSEEN)
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}…"
