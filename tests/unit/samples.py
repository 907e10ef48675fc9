"""A run, a model and a lock for unit tests: complete values, made without any outside system."""

from __future__ import annotations

from pathlib import Path

from runbake.environment import Lock, LockedWheel
from runbake.tracking import DatasetInput, FetchedFile, FetchedModel, Flavor, Metric, PromotedRun, Promotion

RUN_ID = "0123456789abcdef" * 2
HOSTILE = 'line\nbreak "quote" $(touch /tmp/x) ${HOME} {{ env `HOME` }} <script>alert(1)</script> \x1b[31m é'


def a_run(**changes: object) -> PromotedRun:
    """A promoted run; any field can be replaced."""
    fields: dict[str, object] = {
        "asked": RUN_ID,
        "run_id": RUN_ID,
        "run_name": "wise-wine",
        "experiment_id": "1",
        "experiment_name": "wine",
        "user": "ada",
        "start_time_ms": 1_767_000_000_000,
        "end_time_ms": 1_767_000_060_999,
        "params": (("C", "0.5"),),
        "metrics": (Metric(name="accuracy", value=0.98, step=0, timestamp_ms=1_767_000_050_000),),
        "source_tags": (("mlflow.source.git.commit", "a" * 40),),
        "datasets": (
            DatasetInput(
                name="wine",
                digest="12345678",
                source_type="local",
                source='{"uri": "wine.csv"}',
                schema="",
                profile="",
                context="training",
            ),
        ),
        "model_id": "m-" + "1" * 32,
        "model_name": "model",
        "registered_name": "",
        "registered_version": "",
        "model_uri": "mlflow-artifacts:/1/models/m-1/artifacts",
        "files": (),
        "promotion": Promotion(how="tag", detail="promote=true", at_ms=None, ordered_by="end_time"),
    }
    return PromotedRun(**{**fields, **changes})  # type: ignore[arg-type]


def a_model(root: Path = Path("/nowhere"), **changes: object) -> FetchedModel:
    """A scikit-learn model's description; any field can be replaced."""
    fields: dict[str, object] = {
        "root": root,
        "files": (FetchedFile(path="model.skops", size_bytes=3, sha256="0" * 64),),
        "flavors": (
            Flavor(name="python_function", config_json="{}"),
            Flavor(name="sklearn", config_json='{"serialization_format": "skops"}'),
        ),
        "mlflow_version": "3.17.2",
        "python_version": "3.11.7",
        "requirements": ("mlflow==3.17.2", "scikit-learn==1.9.1"),
        "signature_json": '{"inputs": "[]"}',
    }
    return FetchedModel(**{**fields, **changes})  # type: ignore[arg-type]


def a_lock(**changes: object) -> Lock:
    """A lock of one wheel; any field can be replaced."""
    fields: dict[str, object] = {
        "key": "k",
        "platform": "linux/amd64",
        "python": "3.11",
        "uv_platform": "x86_64-manylinux_2_36",
        "model_requirements": ("scikit-learn==1.9.1",),
        "runtime_requirements": ("fastapi",),
        "model_as_of": "2026-01-01T00:00:00Z",
        "runtime_as_of": "2026-01-01T00:00:00Z",
        "wheels": (
            LockedWheel(
                name="numpy",
                version="2.0",
                file_name="numpy-2.0-py3-none-any.whl",
                sha256="1" * 64,
                size_bytes=9,
            ),
        ),
    }
    return Lock(**{**fields, **changes})  # type: ignore[arg-type]
