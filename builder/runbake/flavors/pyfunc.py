"""Every other model that `mlflow.pyfunc.load_model` loads: PythonModel, models from code, other flavors.

Recognised by the `python_function` flavor in MLmodel, asked last. Loaded by MLflow itself, in the packaging
`mlflow-skinny`: the same code of the same version without a tracking server's dependencies, 280 MB less. A
model that imports one of those must ask for it by name, as it must where MLflow infers its requirements.

A PythonModel is a pickle or a script, and other flavors' files are their libraries' own: executable.
"""

from __future__ import annotations

from runbake.errors import UnsupportedFlavor
from runbake.flavors.config import config_of, has
from runbake.flavors.flavor import Flavor, Served
from runbake.flavors.requirements import with_skinny_mlflow
from runbake.tracking.run import ModelDescription

TOLERANCE = 1e-6
"""Nobody knows what is in it; 32 bits are common."""

_NEEDS_A_SERVICE = {
    "databricks.feature_store.mlflow_model": "a Databricks feature store",
    "mlflow.spark": "the `spark` flavor in MLmodel, which is missing",
}


def _recognises(model: ModelDescription) -> bool:
    return bool(config_of(model, "python_function").get("loader_module")) and has(model, "python_function")


def _serve(model: ModelDescription) -> Served:
    loader = str(config_of(model, "python_function")["loader_module"])
    if loader in _NEEDS_A_SERVICE:
        raise UnsupportedFlavor(
            f"the model is loaded by {loader}, which needs {_NEEDS_A_SERVICE[loader]}",
            hint="log a model that answers by itself",
        )
    return Served(
        flavor="python_function",
        requirements=with_skinny_mlflow(model.requirements, model.mlflow_version),
    )


FLAVOR = Flavor(name="python_function", tolerance=TOLERANCE, recognises=_recognises, serve=_serve)
