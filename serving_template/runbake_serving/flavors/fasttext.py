"""fastText: supervised classifiers and sentence vectors, by the C++ library and without MLflow.

Rules. Rows may be joined: each text is answered for itself. Answers are equal to the last bit, joined or
alone, and from each of the packages that bring the library; 1e-6 leaves room for another processor's order
of sums of 32-bit floats.

The model is loaded before the fork: the library's memory is one block that nobody writes to, so all workers
share it. The file is read into it once.

A refusal is a ValueError or TypeError: something that is not text, `k` of 0, half a surrogate pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors import fasttext_model
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Signature

TOLERANCE = 1e-6
_DEFAULT_FILE = "model.bin"


def load(root: Path, flavors: Mapping[str, Any], signature: Signature, *, always_dataframe: bool) -> Loaded:
    """The model in `root`.

    Raises:
        StartError: the file is not there, damaged, or not one that answers as MLmodel says.
    """
    del signature, always_dataframe  # texts come as one column either way
    config = flavors.get("fasttext")
    config = config if isinstance(config, dict) else {}
    path = (root / str(config.get("model_file") or _DEFAULT_FILE)).resolve()
    if not path.is_relative_to(root.resolve()):
        raise StartError(f"MLmodel names a file outside the model: {str(config.get('model_file'))[:200]!r}")
    try:
        model = fasttext_model.load(path, config)
    except OSError as error:
        raise StartError(f"the model's file {path} cannot be read: {error.strerror}") from error
    except ModuleNotFoundError as error:
        raise StartError(
            f"the model needs the Python package {error.name!r}, which is not here",
            hint="the package fasttext-predict brings it for classifiers, fasttext-community for all",
        ) from error
    except (ValueError, MemoryError, RuntimeError) as error:
        raise StartError(
            f"the model's file {path.name} cannot be loaded: {str(error)[:300] or type(error).__name__}",
            hint="log the model again",
        ) from error
    return Loaded(
        predict=model.predict,
        rules=Rules(rows_may_be_joined=True, tolerance=TOLERANCE, refusals=(ValueError, TypeError)),
    )
