"""Estimators in files: skops, cloudpickle and pickle, as scikit-learn's and LightGBM's flavors save them.

A pickle executes what it says when it is loaded. A skops file makes objects of the types that skops knows to
be harmless, and of those that whoever built the image trusts (`RUNBAKE_TRUSTED_TYPES`). What the model itself
asks to trust (`skops_trusted_types` in MLmodel) is never taken: it would be the thief who writes the warrant.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runbake_serving.contract import ENV_TRUSTED_TYPES
from runbake_serving.errors import StartError


def config_of(flavors: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What MLmodel says under one flavor; empty where that is no mapping."""
    config = flavors.get(name)
    return config if isinstance(config, dict) else {}


def inside(root: Path, name: str) -> Path:
    """A file that MLmodel names.

    Raises:
        StartError: it would lie outside the model.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise StartError(f"MLmodel names a file outside the model: {name!r}")
    return path


def add_code(root: Path, name: Any) -> None:
    """Let the model import the modules that were logged with it (`code_paths`).

    Raises:
        StartError: they would lie outside the model.
    """
    if isinstance(name, str) and name:
        sys.path.insert(0, str(inside(root, name)))


def estimator_in(path: Path, kind: str, trusted_types: tuple[str, ...]) -> Any:
    """The estimator in a file of this `serialization_format`.

    Raises:
        StartError: the file is not there, holds a type that nobody trusts, or cannot be loaded.
    """
    loaders: Mapping[str, Callable[[], Any]] = {
        "skops": lambda: _from_skops(path, trusted_types),
        "cloudpickle": lambda: _from_pickle(path),
        "pickle": lambda: _from_pickle(path),
    }
    if kind not in loaders:
        raise StartError(f"the model is serialized as {kind!r}", hint=f"known: {', '.join(loaders)}")
    try:
        return loaders[kind]()
    except OSError as error:
        raise StartError(f"the model's file {path} cannot be read: {error.strerror}") from error
    except (ImportError, AttributeError, ValueError, TypeError, LookupError, EOFError, RuntimeError) as error:
        raise StartError(
            f"the model's file {path.name} cannot be loaded: {type(error).__name__}: {str(error)[:300]}",
            hint="the environment must have the packages, in the versions, that the model was saved with",
        ) from error
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise StartError(f"the model's file {path.name} is damaged, or not in the format {kind!r}") from error


def _from_skops(path: Path, trusted_types: tuple[str, ...]) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(path, trusted=list(trusted_types))
    except UntrustedTypesFoundException as error:
        raise StartError(
            f"{path.name} holds types that nobody trusted: {str(error)[:300]}",
            hint=f"if they are harmless: {ENV_TRUSTED_TYPES}, or --trust-type of runbake containerize",
        ) from error


def _from_pickle(path: Path) -> Any:
    # cloudpickle's files are pickles; they import cloudpickle themselves where they need it.
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - running a promoted model's code is what an image is for
