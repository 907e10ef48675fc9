"""`python -m tests.e2e.train JSON`: train, log and tag a classifier of wines; the last word is the run id.

A process of its own: MLflow and scikit-learn warn, and in the tests' process warnings are errors.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def wines() -> pd.DataFrame:
    """The wine data set, (178, 14), target in the column `cultivar`."""
    data = load_wine(as_frame=True)
    return data.data.assign(cultivar=data.target_names[data.target])


def train(wanted: dict[str, Any]) -> str:
    """Log a run as wanted; its id."""
    frame = wines()
    inputs = frame.drop(columns="cultivar")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=wanted["c"]))
    model.fit(inputs, frame["cultivar"])
    mlflow.set_tracking_uri(wanted["uri"])
    mlflow.set_experiment(wanted["experiment"])
    with mlflow.start_run() as run:
        mlflow.log_params({"C": wanted["c"], **wanted["params"]})
        mlflow.log_metric("accuracy", float(model.score(inputs, frame["cultivar"])))
        mlflow.log_input(from_pandas(frame, name="wine", targets="cultivar"), context="training")
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(inputs, model.predict(inputs)),
            input_example=inputs.head(3) if wanted["example"] == "good" else None,
            pip_requirements=[
                "mlflow",
                "scikit-learn",
                "skops",
                "numpy",
                "pandas",
                "scipy",
                *wanted["requirements"],
            ],
        )
        if wanted["example"] == "bad":
            log_bad_example(logged.model_id)
        mlflow.set_tags(wanted["tags"])
        return str(run.info.run_id)


def log_bad_example(model_id: str) -> None:
    """Give the model an example that lacks every column."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "serving_input_example.json")
        path.write_text('{"dataframe_split": {"columns": ["none"], "data": [[1]]}}')
        mlflow.MlflowClient().log_model_artifact(model_id, str(path))


if __name__ == "__main__":
    print(train(json.loads(sys.argv[1])))
