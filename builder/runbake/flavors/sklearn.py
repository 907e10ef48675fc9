"""scikit-learn: skops, cloudpickle and pickle files, loaded without MLflow.

Recognised by the `sklearn` flavor in MLmodel. MLflow itself is dropped from the requirements: the runtime
reads MLmodel and the estimator's file alone, which leaves out about 600 MB of MLflow and what it pulls in.
"""

from __future__ import annotations

from runbake.flavors.config import config_of, has
from runbake.flavors.estimator_file import format_of
from runbake.flavors.flavor import Flavor, Served
from runbake.flavors.requirements import without_mlflow
from runbake.tracking.run import ModelDescription

TOLERANCE = 1e-9
"""BLAS sums rows in another order when there are more of them; 1e-16 was measured, 1e-9 is generous."""


def _recognises(model: ModelDescription) -> bool:
    return has(model, "sklearn")


def _serve(model: ModelDescription) -> Served:
    kind = format_of(config_of(model, "sklearn"))
    return Served(
        flavor="sklearn",
        requirements=without_mlflow(model.requirements),
        format=kind,
        reads_skops=kind == "safe",
    )


FLAVOR = Flavor(name="sklearn", tolerance=TOLERANCE, recognises=_recognises, serve=_serve)
