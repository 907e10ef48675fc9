"""The label file and the labels: what an image says of the run that it came from.

Pure: a function of what was fixed when the run ended, of the lock, the base and the tool's version. Who
built it, when, where, and under which alias is not here, because the image's digest must not depend on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from runbake.environment.lock import Lock
from runbake.image import Digest
from runbake.redaction import cut, redacted
from runbake.tracking.run import DatasetInput, FetchedModel, PromotedRun
from runbake_serving import contract

_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999."""

VALUE_LIMIT = 4_096
"""Characters that the label file keeps of one parameter, tag or dataset field."""

LABEL_LIMIT = 1_024
"""Characters that a label keeps; registries limit the size of manifests and configs."""

_EXECUTABLE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".py", ".pyc", ".so", ".jar", ".dill")
_MATTERING_LABELS = {
    "mlflow.source.git.repoURL": "org.opencontainers.image.source",
    "mlflow.source.git.commit": "org.opencontainers.image.revision",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """What provenance keeps of the base: its digest on this platform and its Python's full version."""

    digest: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The label file's bytes and the labels of one platform's image."""

    body: bytes
    labels: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> Digest:
        """The digest of the label file."""
        return Digest.of(self.body)


def provenance_of(
    run: PromotedRun, model: FetchedModel, lock: Lock, base: BaseFacts, *, flavor: str, codec_id: str
) -> Provenance:
    """Write down where an image comes from; equal arguments give equal bytes."""
    document = {
        "schema": contract.PROVENANCE_SCHEMA,
        "tool": {"name": "runbake", "version": contract.VERSION},
        "run": _run(run),
        "model": _model(run, model, flavor),
        "data": [_dataset(dataset) for dataset in run.datasets],
        "environment": _environment(lock, base, codec_id),
    }
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False)
    body = text.encode("utf-8", "replace") + b"\n"  # a signature may hold a lone surrogate
    return Provenance(body=body, labels=_labels(run, lock, base, flavor, codec_id, Digest.of(body)))


def _text(value: str, *, name: str = "") -> str:
    # A lone surrogate cannot be written as UTF-8; MLflow's JSON may carry one.
    clean = value.encode("utf-8", "replace").decode()
    return cut(redacted(clean, name=name), VALUE_LIMIT)


def rfc3339(time_ms: int) -> str:
    """A UTC time in whole seconds; one that no calendar has becomes the nearest that it has.

    Whoever logs a run may give it any end.
    """
    seconds = min(max(time_ms // 1000, _FIRST_S), _LAST_S)
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}Z"


def _run(run: PromotedRun) -> dict[str, object]:
    return {
        "id": run.run_id,
        "name": _text(run.run_name),
        "experiment": {"id": run.experiment_id, "name": _text(run.experiment_name)},
        "user": _text(run.user),
        "startedAt": rfc3339(run.start_time_ms),
        "endedAt": rfc3339(run.end_time_ms),
        "parameters": {_text(key): _text(value, name=key) for key, value in run.params},
        "metrics": {
            _text(metric.name): {"value": _number(metric.value), "step": metric.step}
            for metric in run.metrics
        },
        "source": {key: _text(value, name=key) for key, value in run.source_tags},
    }


def _number(value: float) -> float | str:
    # JSON has no words for these three.
    return value if math.isfinite(value) else str(value)


def _model(run: PromotedRun, model: FetchedModel, flavor: str) -> dict[str, object]:
    return {
        "id": run.model_id,
        "name": _text(run.model_name),
        "registeredName": _text(run.registered_name),
        "registeredVersion": run.registered_version,
        "flavor": flavor,
        "flavors": [entry.name for entry in model.flavors],
        "mlflowVersion": model.mlflow_version,
        "pythonVersion": model.python_version,
        "signature": json.loads(model.signature_json) if model.signature_json else None,
        "files": [
            {
                "path": file.path,
                "size": file.size_bytes,
                "sha256": file.sha256,
                "executable": file.path.endswith(_EXECUTABLE_SUFFIXES),
            }
            for file in model.files
        ],
    }


def _dataset(dataset: DatasetInput) -> dict[str, object]:
    return {
        "name": _text(dataset.name),
        "context": _text(dataset.context),
        "mlflowDigest": {"value": _text(dataset.digest), "cryptographic": False},
        "sourceType": _text(dataset.source_type),
        "source": _text(dataset.source),
        "schema": _text(dataset.schema),
        "profile": _text(dataset.profile),
    }


def _environment(lock: Lock, base: BaseFacts, codec_id: str) -> dict[str, object]:
    return {
        "platform": lock.platform,
        "python": base.python,
        "base": {"digest": base.digest},
        "codec": codec_id,
        "lock": {"digest": lock.digest, **json.loads(lock.to_json())},
    }


def label(value: str) -> str:
    """The value as a label carries it: one line, without control characters, at most `LABEL_LIMIT` long."""
    line = "".join(character if character.isprintable() else " " for character in value)
    return cut(line, LABEL_LIMIT)


def _labels(
    run: PromotedRun, lock: Lock, base: BaseFacts, flavor: str, codec_id: str, body: Digest
) -> tuple[tuple[str, str], ...]:
    source: Mapping[str, str] = dict(run.source_tags)
    values = {
        "org.opencontainers.image.created": rfc3339(run.end_time_ms),
        "org.opencontainers.image.description": f"MLflow model of run {run.run_id}, served by runbake",
        "org.opencontainers.image.title": run.registered_name or run.model_name,
        "org.opencontainers.image.version": run.registered_version,
        "org.opencontainers.image.base.digest": base.digest,
        contract.LABEL_RUN_ID: run.run_id,
        contract.LABEL_RUN_NAME: run.run_name,
        contract.LABEL_EXPERIMENT: run.experiment_name,
        contract.LABEL_MODEL_ID: run.model_id,
        contract.LABEL_MODEL_NAME: run.registered_name,
        contract.LABEL_MODEL_VERSION: run.registered_version,
        contract.LABEL_FLAVOR: flavor,
        contract.LABEL_PYTHON: base.python,
        contract.LABEL_LOCK_DIGEST: lock.digest,
        contract.LABEL_PROVENANCE_DIGEST: str(body),
        contract.LABEL_TOOL_VERSION: contract.VERSION,
        contract.LABEL_CODEC: codec_id,
        **{key: source[tag] for tag, key in _MATTERING_LABELS.items() if tag in source},
    }
    return tuple(sorted((key, label(_text(value))) for key, value in values.items() if value))


def parse_label_file(body: bytes) -> dict[str, object]:
    """The label file as a document.

    Raises:
        ValueError: the bytes are not a label file of this schema.
    """
    document = json.loads(body)
    if not isinstance(document, dict) or document.get("schema") != contract.PROVENANCE_SCHEMA:
        raise ValueError(f"not a label file of schema {contract.PROVENANCE_SCHEMA}")
    return document


__all__ = [
    "LABEL_LIMIT",
    "VALUE_LIMIT",
    "BaseFacts",
    "Provenance",
    "label",
    "parse_label_file",
    "provenance_of",
    "rfc3339",
]
