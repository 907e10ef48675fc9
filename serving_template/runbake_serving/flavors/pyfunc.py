"""Every other model, loaded by MLflow itself (`mlflow-skinny`): PythonModel, models from code, other flavors.

Rules. Nobody knows what is in it: rows of several requests are never joined, and it gets what MLflow would
hand it, a DataFrame unless the signature has tensors. It may start threads or open connections when it is
loaded, so it is loaded in the worker, after the fork.

Params of the signature reach the model. A model with type hints checks what `inputs` holds by itself, as it
does in MLflow's server.

No exception of the model counts as a refusal of the values but MLflow's own that says so: from unknown code
a ValueError may mean anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbake_serving.errors import SchemaMismatch, StartError
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Signature

TOLERANCE = 1e-6
_CALLERS_FAULT = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def load(root: Path, flavors: Mapping[str, Any], signature: Signature, *, always_dataframe: bool) -> Loaded:
    """The model in `root`, by `mlflow.pyfunc.load_model`; executes what it brings.

    Raises:
        StartError: MLflow, or what the model imports, is not there, or it cannot be loaded.
    """
    del flavors, always_dataframe  # always as MLflow does
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import load_model
    except ImportError as error:
        raise StartError(
            f"the model needs MLflow, which cannot be imported here: {error}",
            hint="mlflow-skinny, numpy and pandas must be there",
        ) from error
    try:
        model = load_model(str(root), suppress_warnings=True)
    except Exception as error:  # its own code raises anything at all
        raise StartError(
            f"mlflow.pyfunc cannot load the model: {type(error).__name__}: {str(error)[:300]}",
            hint="what it imports must be among its requirements, or logged with it as code_paths",
        ) from error
    has_params = signature.params is not None

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        try:
            return model.predict(data, params=dict(params) if has_params else None)
        except MlflowException as error:
            if error.error_code not in _CALLERS_FAULT:
                raise
            raise SchemaMismatch("the model does not take data of this form") from error

    return Loaded(
        predict=predict,
        rules=Rules(
            rows_may_be_joined=False,
            tolerance=TOLERANCE,
            takes_inputs_as_given=_has_type_hints(model),
        ),
    )


def _has_type_hints(model: Any) -> bool:
    return bool(model.metadata._is_signature_from_type_hint())
