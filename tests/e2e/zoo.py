"""`python -m tests.e2e.zoo URI DIRECTORY`: log one model of each kind, and what MLflow itself answers for it.

Prints one JSON object: for each kind its run, the body of a request, and mlflow.pyfunc's answer to it in this
process. A process of its own: MLflow and its flavors warn, and in the tests' process warnings are errors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.pyfunc import scoring_server
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris, load_linnerud
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

CODE = '''"""A model that is a script."""

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Sum(PythonModel):
    """Adds up each row."""

    def predict(self, context, model_input: pd.DataFrame, params=None):
        """One number for each row."""
        return model_input.sum(axis=1)


set_model(Sum())
'''
LIBRARY = '''"""A module that is logged with a model."""


def scaled(frame, factor):
    """The frame times the factor."""
    return frame * factor
'''


def pins(*names: str) -> list[str]:
    """These distributions as they are here, with MLflow."""
    return [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "pandas", *names)]


def iris() -> tuple[pd.DataFrame, pd.Series]:
    """150 flowers: four doubles, three kinds."""
    data = load_iris(as_frame=True)
    return data.data, data.target


def estimator(model: Any, rows: Any, *, predict: str = "predict", **options: Any) -> None:
    """Log an estimator by scikit-learn's flavor."""
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(rows, getattr(model, predict)(rows)),
        input_example=rows.head(5),
        pyfunc_predict_fn=predict,
        pip_requirements=pins("scikit-learn", "scipy", "skops", "cloudpickle"),
        **options,
    )


def classifier(**options: Any) -> Callable[[Path], None]:
    """A scaled logistic regression of flowers."""

    def log(_: Path) -> None:
        data, target = iris()
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(data, target)
        estimator(model, data, **options)

    return log


def tree(_: Path) -> None:
    """A decision tree, whose file holds a type that skops does not know."""
    data, target = iris()
    model = DecisionTreeClassifier(max_depth=3).fit(data, target)
    estimator(model, data, skops_trusted_types=["sklearn.tree._tree.Tree"])


def mixed(_: Path) -> None:
    """Numbers and words through a ColumnTransformer."""
    data = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 5, "town": ["a", "b", "a", "c"] * 5})
    columns = ColumnTransformer([("n", StandardScaler(), ["size"]), ("w", OneHotEncoder(), ["town"])])
    model = make_pipeline(columns, LogisticRegression()).fit(data, [0, 1, 1, 0] * 5)
    estimator(model, data)


def texts(_: Path) -> None:
    """Words counted in one column of text."""
    data = pd.DataFrame({"text": ["good day", "bad day", "good night", "bad night"] * 4})
    columns = ColumnTransformer([("t", TfidfVectorizer(), "text")])
    model = make_pipeline(columns, LogisticRegression()).fit(data, ["+", "-", "+", "-"] * 4)
    estimator(model, data, serialization_format="cloudpickle")


def outputs(_: Path) -> None:
    """Three numbers for each row."""
    data = load_linnerud(as_frame=True)
    model = MultiOutputRegressor(LinearRegression()).fit(data.data, data.target)
    estimator(model, data.data)


def clusters(_: Path) -> None:
    """A number of a cluster for each row."""
    data, _target = iris()
    estimator(KMeans(n_clusters=3, n_init=2, random_state=0).fit(data), data)


def boosted_by_xgboost(native: bool) -> Callable[[Path], None]:
    """XGBoost's booster, or its classifier in scikit-learn's form."""

    def log(_: Path) -> None:
        import mlflow.xgboost
        import xgboost

        data, target = iris()
        if native:
            rows = xgboost.DMatrix(data, label=target)
            model: Any = xgboost.train({"objective": "multi:softprob", "num_class": 3}, rows, 5)
        else:
            model = xgboost.XGBClassifier(n_estimators=5).fit(data, target)
        mlflow.xgboost.log_model(
            model,
            name="model",
            signature=infer_signature(data),
            input_example=data.head(5),
            pip_requirements=[*pins("scikit-learn"), f"xgboost=={version('xgboost-cpu')}"],
        )

    return log


def boosted_by_lightgbm(native: bool) -> Callable[[Path], None]:
    """LightGBM's booster, or its regressor in scikit-learn's form."""

    def log(_: Path) -> None:
        import lightgbm
        import mlflow.lightgbm

        data = load_diabetes(as_frame=True)
        options = {"verbose": -1, "min_child_samples": 5}
        if native:
            rows = lightgbm.Dataset(data.data, label=data.target)
            model: Any = lightgbm.train({"objective": "regression", **options}, rows, 5)
        else:
            model = lightgbm.LGBMRegressor(n_estimators=5, **options).fit(data.data, data.target)
        mlflow.lightgbm.log_model(
            model,
            name="model",
            signature=infer_signature(data.data),
            input_example=data.data.head(5),
            pip_requirements=pins("scikit-learn", "lightgbm", "cloudpickle"),
            **({} if native else {"serialization_format": "cloudpickle"}),
        )

    return log


def boosted_by_catboost(_: Path) -> None:
    """A classifier with a column of categories."""
    import catboost
    import mlflow.catboost

    data = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 5, "town": ["a", "b", "a", "c"] * 5})
    model = catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False)
    model.fit(data, [0, 1, 1, 0] * 5, cat_features=["town"])
    mlflow.catboost.log_model(
        model,
        name="model",
        signature=infer_signature(data),
        input_example=data.head(5),
        pip_requirements=pins("catboost"),
    )


class Offset(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow has no types
    """Adds what is in an artifact, times a param."""

    def load_context(self, context: Any) -> None:
        """Read the artifact."""
        self.offset = float(Path(context.artifacts["offset"]).read_text())

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """One number for each row."""
        from zoo_library import scaled

        return scaled(model_input["x"], params["factor"]) + self.offset


def python_model(directory: Path) -> None:
    """A PythonModel with modules, artifacts and params."""
    library, offset = directory / "zoo_library.py", directory / "offset.txt"
    library.write_text(LIBRARY)
    offset.write_text("0.5")
    # By value: the image has no module of this name.
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[Offset.__module__])
    rows = pd.DataFrame({"x": [1.0, 2.0]})
    mlflow.pyfunc.log_model(
        name="model",
        python_model=Offset(),
        artifacts={"offset": str(offset)},
        code_paths=[str(library)],
        signature=infer_signature(rows, np.zeros(2), params={"factor": 2.0}),
        input_example=(rows, {"factor": 3.0}),
        pip_requirements=pins("cloudpickle"),
    )


def from_code(directory: Path) -> None:
    """A model that is a script."""
    script = directory / "zoo_script.py"
    script.write_text(CODE)
    rows = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(script),
        signature=infer_signature(rows, np.zeros(2)),
        input_example=rows,
        pip_requirements=pins("cloudpickle"),
    )


def hinted(directory: Path) -> None:
    """A function with type hints, which says by itself what it takes."""
    script = directory / "zoo_hints.py"
    script.write_text(
        "from mlflow.models import set_model\n"
        "from mlflow.pyfunc import PythonModel\n\n\n"
        "class Length(PythonModel):\n"
        "    def predict(self, model_input: list[str]) -> list[int]:\n"
        "        return [len(text) for text in model_input]\n\n\n"
        "set_model(Length())\n"
    )
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(script),
        input_example=["a", "bcd"],
        pip_requirements=pins("cloudpickle"),
    )


KINDS: Mapping[str, Callable[[Path], None]] = {
    "classifier": classifier(),
    "cloudpickle": classifier(serialization_format="cloudpickle"),
    "pickle": classifier(serialization_format="pickle"),
    "probabilities": classifier(predict="predict_proba"),
    "tree": tree,
    "mixed": mixed,
    "texts": texts,
    "outputs": outputs,
    "clusters": clusters,
    "xgboost-booster": boosted_by_xgboost(native=True),
    "xgboost-classifier": boosted_by_xgboost(native=False),
    "lightgbm-booster": boosted_by_lightgbm(native=True),
    "lightgbm-regressor": boosted_by_lightgbm(native=False),
    "catboost": boosted_by_catboost,
    "python-model": python_model,
    "from-code": from_code,
    "type-hints": hinted,
}


def logged(log: Callable[[Path], None], directory: Path) -> dict[str, str]:
    """The run of one model, and what MLflow answers for its own example."""
    directory.mkdir()
    with mlflow.start_run() as run:
        log(directory)
        mlflow.set_tag("promote", "true")
    root = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model"))
    body = (root / "serving_input_example.json").read_text()
    model = mlflow.pyfunc.load_model(str(root))
    answer = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
    return {"run": run.info.run_id, "body": body, "answer": answer.response}


def main(uri: str, directory: Path, names: list[str]) -> dict[str, dict[str, str]]:
    """Log these kinds."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("zoo")
    return {name: logged(KINDS[name], directory / name) for name in names}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
