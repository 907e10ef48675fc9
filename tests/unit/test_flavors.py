"""Which flavor serves a model, and what it does to the requirements."""

from __future__ import annotations

import json

import pytest

from runbake import flavors
from runbake.errors import UnsupportedFlavor, UntrustedTypes
from runbake.flavors.requirements import with_skinny_mlflow, without_mlflow
from runbake.tracking import Flavor, ModelDescription
from runbake_serving import contract
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

    with pytest.raises(UnsupportedFlavor, match=r"h2o; this version of runbake serves sklearn, fasttext"):
        flavors.serve(model)


def test_by_name_knows_every_flavor_and_no_other() -> None:
    """A label file's flavor finds its rules again."""
    assert [flavors.by_name(flavor.name) for flavor in flavors.FLAVORS] == list(flavors.FLAVORS)
    with pytest.raises(UnsupportedFlavor):
        flavors.by_name("none")


def described(
    requirements: tuple[str, ...] = ("mlflow==3.17.2", "numpy"), **flavors_: object
) -> ModelDescription:
    """A model with these flavors, each as MLmodel has it."""
    named = tuple(Flavor(name=name, config_json=json.dumps(config)) for name, config in flavors_.items())
    return a_model(flavors=named, requirements=requirements)


PYFUNC = {"loader_module": "mlflow.pyfunc.model"}


@pytest.mark.parametrize(
    ("said", "flavor", "kind"),
    [
        ({"sklearn": {"serialization_format": "skops"}}, "sklearn", "safe"),
        ({"sklearn": {"serialization_format": "cloudpickle"}}, "sklearn", "executable"),
        ({"sklearn": {"serialization_format": "pickle"}}, "sklearn", "executable"),
        ({"sklearn": {}}, "sklearn", "executable"),
        ({"sklearn": {"serialization_format": "skops", "code": "code"}}, "sklearn", "executable"),
        ({"xgboost": {"model_class": "xgboost.sklearn.XGBClassifier"}}, "xgboost", "safe"),
        ({"lightgbm": {}}, "lightgbm", "safe"),
        ({"lightgbm": {"model_class": "lightgbm.sklearn.LGBMClassifier"}}, "lightgbm", "executable"),
        ({"catboost": {"model_type": "CatBoost", "save_format": "cbm"}}, "catboost", "safe"),
        ({"python_function": PYFUNC}, "python_function", "executable"),
        ({"python_function": PYFUNC, "statsmodels": {}}, "python_function", "executable"),
    ],
)  # fmt: skip
def test_who_serves_it_and_whether_loading_it_runs_code(
    said: dict[str, object], flavor: str, kind: str
) -> None:
    """The flavor's own format decides; modules that came with the model make any of them executable."""
    served = flavors.serve(described(**{"python_function": PYFUNC, **said}))

    assert (served.flavor, served.format) == (flavor, kind)


def test_what_training_and_drawing_need_is_left_out() -> None:
    """XGBoost loses NCCL, CatBoost what it draws with, unless the model asks for that by name."""
    assert "nvidia-nccl-cu12" in flavors.serve(described(xgboost={})).without
    assert flavors.serve(described(catboost={})).without == ("graphviz", "matplotlib", "plotly")
    asked = described(("catboost==1.2", "Matplotlib>3"), catboost={})
    assert flavors.serve(asked).without == ("graphviz", "plotly")


def test_a_class_from_elsewhere_is_refused() -> None:
    """MLmodel cannot name any class in the world as an XGBoost model."""
    with pytest.raises(UnsupportedFlavor, match=r"os\.system"):
        flavors.serve(described(xgboost={"model_class": "os.system"}))


def test_mlflow_becomes_mlflow_skinny() -> None:
    """Version, extras and marker stay; a line without a version gets the one that wrote the model."""
    lines = ("mlflow[extras]==3.1 ; python_version > '3'", "mlflow", "mlflow-export-import", "numpy", "-e .")

    assert with_skinny_mlflow(lines, "3.17.2") == (
        'mlflow-skinny[extras]==3.1 ; python_version > "3"',
        "mlflow-skinny==3.17.2",
        "mlflow-export-import",
        "numpy",
        "-e .",
    )
    assert with_skinny_mlflow(("numpy",), "3.17.2") == ("numpy", "mlflow-skinny==3.17.2")
    assert with_skinny_mlflow(("mlflow-skinny>3",), "3.17.2") == ("mlflow-skinny>3",)


SKOPS = {"serialization_format": "skops", "skops_trusted_types": ["sklearn.tree._tree.Tree", "os.system"]}


def test_a_model_is_not_trusted_for_its_own_word() -> None:
    """Types that MLmodel asks to trust are refused by name, with the flag that trusts them."""
    with pytest.raises(UntrustedTypes, match=r"os\.system$") as caught:
        flavors.serve(described(sklearn=SKOPS), trusted=("sklearn.tree._tree.Tree",))

    assert "--trust-type os.system" in caught.value.hint


def test_trusted_types_reach_the_image() -> None:
    """Those that the model needs, of those that the builder trusts, are in the image's configuration."""
    served = flavors.serve(
        described(sklearn=SKOPS), trusted=("os.system", "sklearn.tree._tree.Tree", "never.needed.Type")
    )

    assert served.trusted_types == ("os.system", "sklearn.tree._tree.Tree")
    assert served.environment == ((contract.ENV_TRUSTED_TYPES, "os.system,sklearn.tree._tree.Tree"),)


def test_a_file_that_is_no_skops_file_needs_no_trust() -> None:
    """MLflow names types to trust for LightGBM's text files too: nobody is asked for them."""
    assert flavors.serve(described(lightgbm=SKOPS)).trusted_types == ()
    with pytest.raises(UntrustedTypes):
        flavors.serve(described(lightgbm={**SKOPS, "model_class": "lightgbm.sklearn.LGBMClassifier"}))
