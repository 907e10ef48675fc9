"""Which flavor serves a model, and what it does to the requirements."""

from __future__ import annotations

import pytest

from runbake import flavors
from runbake.errors import UnsupportedFlavor
from runbake.flavors.requirements import without_mlflow
from runbake.tracking import Flavor
from tests.unit.samples import a_model


def test_scikit_learn_is_served_without_mlflow() -> None:
    """The requirements lose MLflow in every packaging and spelling, and nothing else."""
    lines = (
        "mlflow==3.1",
        "MLflow-Skinny[x]>=3 ; python_version>'3'",
        "mlflow_tracing",
        "numpy",
        "./local.whl",
    )

    assert flavors.serve(a_model(requirements=lines)).requirements == ("numpy", "./local.whl")


def test_packages_that_only_sound_alike_stay() -> None:
    """mlflow-export-import is not MLflow."""
    assert without_mlflow(("mlflow-export-import==1.2",)) == ("mlflow-export-import==1.2",)


def test_a_model_that_no_flavor_recognises_is_refused_by_name() -> None:
    """The error names what the model has and what is served."""
    model = a_model(flavors=(Flavor(name="h2o", config_json="{}"),))

    with pytest.raises(UnsupportedFlavor, match=r"h2o; this version of runbake serves sklearn"):
        flavors.serve(model)


def test_by_name_knows_every_flavor_and_no_other() -> None:
    """A label file's flavor finds its rules again."""
    assert [flavors.by_name(flavor.name) for flavor in flavors.FLAVORS] == list(flavors.FLAVORS)
    with pytest.raises(UnsupportedFlavor):
        flavors.by_name("none")
