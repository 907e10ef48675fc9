"""fastText: MLflow has no such flavor, so this page brings one, with what logs and loads its models.

Recognised by the `fasttext` flavor in MLmodel, which `log_model` writes. Whichever packaging of the library
the model was trained with, in the image it is one that has wheels for every platform and Python:
fasttext-predict (0.9 MB) for labels and Python up to 3.13, else fasttext-community (20 MB). Their answers are
equal to the last bit. The library's own `fasttext` has no wheels, and fasttext-wheel fails with numpy 2.
MLflow is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from runbake.errors import NoModel
from runbake.flavors.fasttext_logging import adopt, load_model, log_model, save_model
from runbake.flavors.flavor import Flavor, Served
from runbake.flavors.requirements import without, without_mlflow
from runbake.tracking.run import FetchedModel, ModelDescription
from runbake_serving.flavors import fasttext_model

NAME = "fasttext"
TOLERANCE = 1e-6
"""The library sums 32-bit floats; on one machine its answers are equal to the last bit."""

PACKAGINGS = frozenset(
    {
        "fasttext",
        "fasttext-community",
        "fasttext-ng",
        "fasttext-numpy2",
        "fasttext-numpy2-wheel",
        "fasttext-prebuilt",
        "fasttext-predict",
        "fasttext-wheel",
    }
)
"""Distributions that bring the package `fasttext`."""

_PREDICT_ONLY = "fasttext-predict"
_WHOLE = "fasttext-community"
_NEWEST_PYTHON = Version("3.13")  # fasttext-predict 0.9.2.4 has no wheel for a newer one


def _recognises(model: ModelDescription) -> bool:
    return any(flavor.name == NAME for flavor in model.flavors)


def _serve(model: ModelDescription) -> Served:
    library = _WHOLE if _wants_vectors(model) or _is_newer(model.python_version) else _PREDICT_ONLY
    kept = without(without_mlflow(model.requirements), PACKAGINGS)
    return Served(flavor=NAME, requirements=(*kept, library), format="safe")


def _examine(model: FetchedModel) -> None:
    """Refuse a file that is not a whole fastText model, before anything is made of it."""
    name = str(_config(model).get("model_file") or "model.bin")
    path = (model.root / name).resolve()
    if not path.is_relative_to(model.root.resolve()) or not path.is_file():
        raise NoModel(f"MLmodel names the file {name[:200]!r}, which the model does not have")
    found = _file_of(path)
    if not found.supervised and not _wants_vectors(model):
        raise NoModel(
            f"{name} is a {found.kind} model: it has vectors, and no labels to predict",
            hint=f"log it with pyfunc_predict_fn={fasttext_model.VECTOR!r}",
        )


def _file_of(path: Path) -> fasttext_model.FastTextFile:
    try:
        return fasttext_model.file_of(path)
    except fasttext_model.DamagedModel as error:
        raise NoModel(str(error), hint="log the model again") from error


def _wants_vectors(model: ModelDescription) -> bool:
    return _config(model).get("predict_fn") == fasttext_model.VECTOR


def _config(model: ModelDescription) -> Mapping[str, Any]:
    found = next((json.loads(flavor.config_json) for flavor in model.flavors if flavor.name == NAME), None)
    return found if isinstance(found, dict) else {}


def _is_newer(python_version: str) -> bool:
    try:
        return Version(".".join(python_version.split(".")[:2])) > _NEWEST_PYTHON
    except InvalidVersion:
        return False  # the environment room says what is wrong with it


FLAVOR = Flavor(name=NAME, tolerance=TOLERANCE, recognises=_recognises, serve=_serve, examine=_examine)

__all__ = ["FLAVOR", "adopt", "load_model", "log_model", "save_model"]
