"""The model as everything here uses it: `checked`, then `answer`, for online, batch and the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runbake_serving.errors import StartError
from runbake_serving.flavors import page_of
from runbake_serving.flavors.flavor import Loaded, Page, Rules
from runbake_serving.model.enforcement import enforced
from runbake_serving.model.params import enforced_params
from runbake_serving.model.signature import Inputs, Signature, signature_of
from runbake_serving.model.tables import Table, TableArray, TableColumns, reader_of, the_long_way

MLMODEL = "MLmodel"
_MLMODEL_LIMIT = 8 << 20
_EXAMPLE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one request asks: data as its protocol read them, and params as given."""

    data: Any
    params: Any = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What reaches the model: data and params as the signature promises them."""

    data: Any
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model: what it takes, how it may be called, and its prediction.

    Attributes:
        mlflow_version: the MLflow that wrote the model.
        example: the model's own example as a JSON body of /invocations; empty where there is none.
        quick_tables: False reads every table through a DataFrame.
        forks: it answers in a forked child too; see `Page.forks`.
        read_table: reads the value of `dataframe_split` or `dataframe_records` (the form's name comes first)
            without a DataFrame; None sends it the long way.
    """

    signature: Signature
    loaded: Loaded
    mlflow_version: str
    example: bytes = b""
    quick_tables: bool = True
    forks: bool = True
    read_table: Callable[[str, Any], Table | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Learn to read tables once, not with each request."""
        rules, inputs = self.loaded.rules, self.signature.inputs
        reader = reader_of(inputs, rules.array_dtype) if self.quick_tables else the_long_way
        object.__setattr__(self, "read_table", reader)

    @property
    def rules(self) -> Rules:
        """The flavor's fixed rules for this model."""
        return self.loaded.rules

    @property
    def inputs(self) -> Inputs | None:
        """What the signature says of the data."""
        return self.signature.inputs

    def checked(self, question: Question) -> Checked:
        """The question's data and params as the signature promises them to the model.

        The data are a DataFrame, an array or a dict of arrays, or a table of `read_table`.

        Raises:
            SchemaMismatch: they do not fit it.
        """
        data = question.data
        if self.rules.takes_inputs_as_given:
            return Checked(data, enforced_params(question.params, self.signature.params))
        if not isinstance(data, (TableArray, TableColumns)):
            data = enforced(data, self.inputs)
        return Checked(data, enforced_params(question.params, self.signature.params))

    def answer(self, checked: Checked) -> Any:
        """The model's answer to what was checked, in the order of the rows.

        Raises:
            Whatever the model raises; `rules.refusals` says which of it is the caller's fault.
        """
        data = checked.data
        if isinstance(data, TableArray):
            data = data.values
        elif isinstance(data, TableColumns):
            data = data.frame
        return self.loaded.predict(data, checked.params)


def load_model(root: Path, *, always_dataframe: bool = False, trusted_types: tuple[str, ...] = ()) -> Model:
    """The MLflow model in the directory `root`, ready to predict; runs the model's own code.

    `trusted_types` are those of `RUNBAKE_TRUSTED_TYPES`.

    Raises:
        StartError: no model there, or none that this runtime serves.
    """
    document = _document(root)
    signature = signature_of(_section(document, "signature"))
    flavors = _section(document, "flavors")
    page = page_of(flavors)
    loaded = page.load(
        root, flavors, signature, always_dataframe=always_dataframe, trusted_types=trusted_types
    )
    return Model(
        signature=signature,
        loaded=loaded,
        mlflow_version=str(document.get("mlflow_version") or ""),
        example=_example(root, document),
        quick_tables=not always_dataframe,
        forks=page.forks,
    )


def page_of_model(root: Path) -> Page:
    """The page of the flavor that will load the MLflow model in `root`; loads nothing.

    Raises:
        StartError: no model there, or none that this runtime serves.
    """
    return page_of(_section(_document(root), "flavors"))


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


__all__ = ["Checked", "Model", "Question", "TableArray", "TableColumns", "load_model", "page_of_model"]
