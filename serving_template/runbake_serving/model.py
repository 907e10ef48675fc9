"""The model as everything here uses it: one `predict` for online, batch and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from runbake_serving.enforcement import enforced
from runbake_serving.errors import StartError
from runbake_serving.flavors import loader_of
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.params import enforced_params
from runbake_serving.signature import Inputs, Signature, signature_of

MLMODEL = "MLmodel"
_MLMODEL_LIMIT = 8 << 20
_EXAMPLE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one request asks: data as its protocol read them, and params as given."""

    data: Any
    params: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model: what it takes, how it may be called, and its prediction.

    Attributes:
        mlflow_version: the MLflow that wrote the model.
        example: the model's own example as a JSON body of /invocations; empty where there is none.
    """

    signature: Signature
    loaded: Loaded
    mlflow_version: str
    example: bytes = b""

    @property
    def rules(self) -> Rules:
        """The flavor's fixed rules for this model."""
        return self.loaded.rules

    @property
    def inputs(self) -> Inputs | None:
        """What the signature says of the data."""
        return self.signature.inputs

    def predict(self, data: Any, params: Any = None) -> Any:
        """The model's answer, in the order of the rows.

        `data` is a DataFrame, an array or a dict of arrays; an array of shape (n_rows, n_columns) stands for
        a DataFrame where `rules.array_dtype` allows it.

        Raises:
            SchemaMismatch: the data or the params do not fit the signature.
            Whatever the model raises; `rules.refusals` says which of it is the caller's fault.
        """
        checked = enforced_params(params, self.signature.params)
        return self.loaded.predict(self._checked(data), checked)

    def _checked(self, data: Any) -> Any:
        if isinstance(data, TableArray):
            return data.values
        return enforced(data, self.inputs)


@dataclass(frozen=True, slots=True)
class TableArray:
    """A table that was read straight into the model's one dtype, columns in the signature's order."""

    values: np.ndarray[Any, Any]


def load_model(root: Path, *, always_dataframe: bool = False) -> Model:
    """The MLflow model in the directory `root`, ready to predict; runs the model's own code.

    Raises:
        StartError: no model there, or none that this runtime serves.
    """
    document = _document(root)
    signature = signature_of(_section(document, "signature"))
    flavors = _section(document, "flavors")
    load = loader_of(flavors)
    return Model(
        signature=signature,
        loaded=load(root, flavors, signature, always_dataframe=always_dataframe),
        mlflow_version=str(document.get("mlflow_version") or ""),
        example=_example(root, document),
    )


def _document(root: Path) -> Mapping[str, Any]:
    path = root / MLMODEL
    try:
        with path.open("rb") as file:
            document = yaml.safe_load(file.read(_MLMODEL_LIMIT))
    except OSError as error:
        raise StartError(
            f"there is no model in {root}: {path} cannot be read ({error.strerror})",
            hint="RUNBAKE_MODEL names the directory that holds MLmodel",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise StartError(f"{path} is not YAML") from error
    if not isinstance(document, dict):
        raise StartError(f"{path} does not describe a model")
    return document


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = document.get(name) or {}
    if not isinstance(section, dict):
        raise StartError(f"{MLMODEL}: {name} is not a mapping")
    return section


def _example(root: Path, document: Mapping[str, Any]) -> bytes:
    info = document.get("saved_input_example_info")
    name = info.get("serving_input_path") if isinstance(info, dict) else None
    if not isinstance(name, str):
        return b""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        return b""
    return path.read_bytes() if path.stat().st_size <= _EXAMPLE_LIMIT else b""
