"""scikit-learn: skops, cloudpickle and pickle files, loaded without MLflow.

Recognised by the `sklearn` flavor in MLmodel. MLflow itself is dropped from the requirements: the runtime
reads MLmodel and the estimator's file alone, which leaves out about 600 MB of MLflow and what it pulls in.
"""

from __future__ import annotations

from runbake.flavors.flavor import Flavor, Served
from runbake.flavors.requirements import without_mlflow
from runbake.tracking.run import ModelDescription

TOLERANCE = 1e-9
"""BLAS sums rows in another order when there are more of them; 1e-16 was measured, 1e-9 is generous."""


def _recognises(model: ModelDescription) -> bool:
    return any(flavor.name == "sklearn" for flavor in model.flavors)


def _serve(model: ModelDescription) -> Served:
    return Served(flavor="sklearn", requirements=without_mlflow(model.requirements))


FLAVOR = Flavor(name="sklearn", tolerance=TOLERANCE, recognises=_recognises, serve=_serve)
