"""scikit-learn: estimators from skops, cloudpickle and pickle files (`estimator_file`), without MLflow.

Rules. Rows may be joined where every part of the estimator is scikit-learn's own: those predict row by row,
but for a few that stop by a sum over all rows, or draw at random. A part from elsewhere, or a
FunctionTransformer with its caller's function, may look at all rows at once.

An array is enough where in addition nothing in the estimator looks at column names: no ColumnTransformer, no
output set to pandas or polars, the signature's columns all required, of one number type, and in the order
of training: the estimator itself knows the names, or no part of it does. Then scikit-learn turns the
DataFrame into the very array that we made.

A refusal is a ValueError, TypeError or OverflowError of the estimator: a missing value, a text where a number
should be, too few columns; scikit-learn has no narrower one. So is what a value lacks, as a number lacks a
text's methods; what an object of the model's lacks is a bug.

The array path may sum rows in another order: 1e-9.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runbake_serving.errors import StartError
from runbake_serving.flavors.estimator_file import add_code, config_of, estimator_in, inside
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Columns, Scalar, Signature

TOLERANCE = 1e-9
PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba", "score")
"""What MLflow's `pyfunc_predict_fn` may name."""

_NUMBERS = (Scalar.DOUBLE, Scalar.FLOAT, Scalar.LONG, Scalar.INTEGER)
_LOOKS_AT_NAMES = frozenset({"ColumnTransformer", "TransformedTargetRegressor"})
_RUNS_FOREIGN_CODE = frozenset({"FunctionTransformer"})
_LOOKS_ACROSS_ROWS = frozenset(
    {"NMF", "MiniBatchNMF", "DummyClassifier", "IterativeImputer", "LatentDirichletAllocation"}
)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_VALUES = (type(None), str, bytes, bool, int, float, list, dict, np.generic, np.ndarray)
"""What a cell of a table may hold."""


def load(
    root: Path,
    flavors: Mapping[str, Any],
    signature: Signature,
    *,
    always_dataframe: bool,
    trusted_types: tuple[str, ...] = (),
) -> Loaded:
    """The estimator in `root`; a pickle executes what it says.

    Raises:
        StartError: the file is not there or cannot be loaded; the message names it.
    """
    config, pyfunc = config_of(flavors, "sklearn"), config_of(flavors, "python_function")
    add_code(root, config.get("code") or pyfunc.get("code"))
    path = inside(root, str(config.get("pickled_model") or pyfunc.get("model_path") or "model.pkl"))
    estimator = estimator_in(path, str(config.get("serialization_format") or "pickle"), trusted_types)
    return Loaded(
        predict=_prediction(estimator, str(pyfunc.get("predict_fn") or "predict")),
        rules=rules_of(estimator, signature, always_dataframe=always_dataframe),
    )


def rules_of(estimator: Any, signature: Signature, *, always_dataframe: bool = False) -> Rules:
    """The fixed rules of this module for one estimator."""
    parts = tuple(_parts(estimator))
    own = all(_is_own(part) for part in parts)
    array = own and not always_dataframe and not any(_needs_names(part) for part in parts)
    return Rules(
        rows_may_be_joined=own and not any(type(part).__name__ in _LOOKS_ACROSS_ROWS for part in parts),
        array_dtype=_one_dtype(estimator, signature) if array else None,
        tolerance=TOLERANCE,
        refusals=(ValueError, TypeError, OverflowError),
    )


# --- rules ---------------------------------------------------------------------------------------------


def _parts(estimator: Any) -> Iterator[Any]:
    """The estimator, all estimators in it, given or fitted, and the functions that it was given."""
    seen, waiting = set[int](), [estimator]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, type):
            continue
        seen.add(id(part))
        if hasattr(part, "fit"):
            yield part
            waiting += [*getattr(part, "__dict__", {}).values(), *_params(part)]
        elif isinstance(part, _CONTAINERS):
            waiting += part.values() if isinstance(part, dict) else part
        elif isinstance(part, np.ndarray) and part.dtype == object:
            waiting += part.ravel().tolist()
        elif type(part).__module__.startswith("sklearn."):
            # Not an estimator, but it may hold one: CalibratedClassifierCV keeps its fitted ones like this.
            waiting += getattr(part, "__dict__", {}).values()
        elif callable(part):
            yield part


def _params(part: Any) -> Iterable[Any]:
    # A FrozenEstimator does not tell the parameters of what is in it: each part is asked for its own.
    return part.get_params(deep=False).values() if hasattr(part, "get_params") else ()


def _is_own(part: Any) -> bool:
    home = type(part).__module__ if hasattr(part, "fit") else getattr(part, "__module__", None)
    return (
        isinstance(home, str)
        and home.split(".")[0] in ("sklearn", "numpy")
        and type(part).__name__ not in _RUNS_FOREIGN_CODE
    )


def _needs_names(part: Any) -> bool:
    return type(part).__name__ in _LOOKS_AT_NAMES or hasattr(part, "_sklearn_output_config")


def _one_dtype(estimator: Any, signature: Signature) -> str | None:
    inputs = signature.inputs
    if not isinstance(inputs, Columns) or not inputs.named:
        return None
    kinds = {column.type for column in inputs.columns}
    if len(kinds) != 1 or not all(column.required for column in inputs.columns):
        return None
    kind = kinds.pop()
    in_order = _is_in_order(estimator, list(inputs.by_name))
    return kind.numpy.name if isinstance(kind, Scalar) and kind in _NUMBERS and in_order else None


def _is_in_order(estimator: Any, names: list[str]) -> bool:
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None:
        return list(known) == names
    # Fitted on an array it takes what comes, in the signature's order. But a Pipeline that begins with
    # "passthrough" does not tell the names either, and its next step refuses a DataFrame in another order.
    return not any(hasattr(part, "feature_names_in_") for part in _parts(estimator))


def _prediction(estimator: Any, name: str) -> Callable[[Any, Mapping[str, Any]], Any]:
    method = getattr(estimator, name, None) if name in PREDICTIONS else None
    if method is None:
        raise StartError(f"the estimator {type(estimator).__name__} has no {name!r}")
    # We hand over an array instead of a DataFrame on purpose, only where names were checked beforehand.
    warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        del params  # scikit-learn's predictions take none; MLflow checks and drops them likewise
        try:
            return method(data)
        except AttributeError as error:
            # A text step asks its values for `lower`. Raised by hand there is no name: not about a value.
            if error.name is None or not isinstance(error.obj, _VALUES):
                raise
            raise TypeError("a value is of another kind than the model takes") from error

    return predict
