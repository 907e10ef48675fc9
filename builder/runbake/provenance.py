"""The label file and the labels: what an image says of the run that it came from.

Pure: a function of what was fixed when the run ended, of the lock, the base and the tool's version. Who
built it, when, where, and under which alias is not here, because the image's digest must not depend on it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbake.environment.lock import Lock
from runbake.image import Digest
from runbake.redaction import cut, redacted
from runbake.tracking.run import DatasetInput, FetchedModel, PromotedRun, RunFacts
from runbake_serving import contract

_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999."""

VALUE_LIMIT = 4_096
"""Characters that the label file keeps of one parameter, tag or dataset field."""

LABEL_LIMIT = 1_024
"""Characters that a label keeps; registries limit the size of manifests and configs."""

EC2_TAG_VALUE_LIMIT = 256
"""Characters of a tag's value on an AMI, a snapshot or an instance.

Source: Amazon EC2 User Guide, "Tag restrictions".
"""

_MOST_EC2_TAGS = 40
"""Of the 50 that AWS allows, ten are left to the account's own rules."""

_NOT_IN_EC2_TAGS = re.compile(r"[^A-Za-z0-9 +\-=._:/@]")
"""What some AWS services refuse in a tag, although EC2 itself takes more."""

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
    run: PromotedRun,
    model: FetchedModel,
    lock: Lock,
    base: BaseFacts,
    *,
    flavor: str,
    codec_id: str,
    model_format: str = "executable",
    trusted_types: tuple[str, ...] = (),
) -> Provenance:
    """Write down where an image comes from; equal arguments give equal bytes.

    `model_format` is "safe" or "executable", `trusted_types` are those that the builder trusts in its files.
    """
    document = {
        "schema": contract.PROVENANCE_SCHEMA,
        "tool": {"name": "runbake", "version": contract.VERSION},
        **run_documents(run),
        "model": {
            **_model(run, model, flavor),
            "format": model_format,
            "trustedTypes": [_text(name) for name in trusted_types],
        },
        "environment": _environment(lock, base, codec_id),
    }
    body = label_file_bytes(document)
    return Provenance(body=body, labels=labels_of(json.loads(body), Digest.of(body)))


def label_file_bytes(document: Mapping[str, object]) -> bytes:
    """The one way to write the document of a label file: what was read from one gives its bytes again."""
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"  # a signature may hold a lone surrogate


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


def run_documents(run: RunFacts) -> dict[str, object]:
    """The label file's `run` and `data`; secrets in them are replaced."""
    return {"run": _run(run), "data": [_dataset(dataset) for dataset in run.datasets]}


def _run(run: RunFacts) -> dict[str, object]:
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
        "libraries": _libraries(model),
        "signature": _redacted_json(json.loads(model.signature_json)) if model.signature_json else None,
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


def _libraries(model: FetchedModel) -> dict[str, str]:
    """What each flavor says it was logged with: `sklearn_version` is the version of sklearn."""
    found: dict[str, str] = {}
    for flavor in model.flavors:
        config = json.loads(flavor.config_json)
        for key, value in config.items() if isinstance(config, dict) else ():
            name, is_version, rest = key.rpartition("_version")
            if is_version and name and not rest and name != "python" and isinstance(value, str | int | float):
                found[_text(name)] = _text(str(value))
    return dict(sorted(found.items()))


def _redacted_json(value: object, name: str = "") -> object:
    """The same document; a parameter's default may be somebody's token, a name somebody's address."""
    if isinstance(value, dict):
        # Of a column or parameter, the name says what its default is.
        own = value.get("name") if isinstance(value.get("name"), str) else name
        return {
            key: _redacted_json(each, str(own) if key == "default" else "") for key, each in value.items()
        }
    if isinstance(value, list):
        return [_redacted_json(each) for each in value]
    return redacted(value, name=name) if isinstance(value, str) else value


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


def model_files_of(label_file: Mapping[str, Any]) -> str:
    """One digest for the model's files, by paths and contents, from a label file; "" where it lists none."""
    model = label_file.get("model")
    files = model.get("files") if isinstance(model, dict) else None
    if not isinstance(files, list):
        return ""
    listed = sorted([str(file.get("path")), str(file.get("sha256"))] for file in files)
    return str(Digest.of(json.dumps(listed).encode()))


def label(value: str) -> str:
    """The value as a label carries it: one line, without control characters, at most `LABEL_LIMIT` long."""
    line = "".join(character if character.isprintable() else " " for character in value)
    return cut(line, LABEL_LIMIT)


def ec2_tags(labels: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The labels as AWS takes them as tags of an AMI, a snapshot or an instance; sorted by key.

    A value that is too long ends with how many characters are missing, what AWS services refuse becomes `_`,
    and of more than 40 labels our own come first.
    """
    ours_first = sorted(labels, key=lambda pair: (not pair[0].startswith(contract.LABEL_NAMESPACE), pair[0]))
    return tuple(sorted((key, _ec2_value(value)) for key, value in ours_first[:_MOST_EC2_TAGS]))


def _ec2_value(value: str) -> str:
    text = _NOT_IN_EC2_TAGS.sub("_", value)
    if len(text) <= EC2_TAG_VALUE_LIMIT:
        return text
    more = f"... +{len(text)}"
    kept = EC2_TAG_VALUE_LIMIT - len(more)
    return f"{text[:kept]}... +{len(text) - kept}"


def labels_of(document: Mapping[str, Any], digest: Digest) -> tuple[tuple[str, str], ...]:
    """The labels of a label file of this digest, sorted; nothing is in them that is not in the file.

    Raises:
        KeyError, TypeError: the document does not follow the schema.
    """
    run, model, environment = document["run"], document["model"], document["environment"]
    source: Mapping[str, str] = run["source"]
    values = {
        "org.opencontainers.image.created": run["endedAt"],
        "org.opencontainers.image.description": f"MLflow model of run {run['id']}, served by runbake",
        "org.opencontainers.image.title": model["registeredName"] or model["name"],
        "org.opencontainers.image.version": model["registeredVersion"],
        "org.opencontainers.image.base.digest": environment["base"]["digest"],
        contract.LABEL_RUN_ID: run["id"],
        contract.LABEL_RUN_NAME: run["name"],
        contract.LABEL_EXPERIMENT: run["experiment"]["name"],
        contract.LABEL_MODEL_ID: model["id"],
        contract.LABEL_MODEL_NAME: model["registeredName"],
        contract.LABEL_MODEL_VERSION: model["registeredVersion"],
        contract.LABEL_FLAVOR: model["flavor"],
        contract.LABEL_PYTHON: environment["python"],
        contract.LABEL_LOCK_DIGEST: environment["lock"]["digest"],
        contract.LABEL_PROVENANCE_DIGEST: str(digest),
        contract.LABEL_TOOL_VERSION: document["tool"]["version"],
        contract.LABEL_CODEC: environment["codec"],
        **{key: source[tag] for tag, key in _MATTERING_LABELS.items() if tag in source},
    }
    return tuple(sorted((key, label(str(value))) for key, value in values.items() if value))


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
    "EC2_TAG_VALUE_LIMIT",
    "LABEL_LIMIT",
    "VALUE_LIMIT",
    "BaseFacts",
    "Provenance",
    "ec2_tags",
    "label",
    "label_file_bytes",
    "labels_of",
    "model_files_of",
    "parse_label_file",
    "provenance_of",
    "rfc3339",
    "run_documents",
]
