"""Logs a run with the MLflow 2.22 client to an MLflow 2.22 server; prints ids as one JSON object."""

from __future__ import annotations

import json
import sys

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def main(uri: str) -> dict[str, str]:
    """Every run by the name the tests use."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    features, target = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=300).fit(features, target)
    requirements = ["scikit-learn", "cloudpickle"]
    mlflow.set_experiment("old")
    with mlflow.start_run() as one:
        mlflow.log_param("max_iter", 300)
        mlflow.log_metric("accuracy", 0.97)
        mlflow.sklearn.log_model(model, "nested/classifier", pip_requirements=requirements)
    client.set_tag(one.info.run_id, "promote", "true")
    version = mlflow.register_model(f"runs:/{one.info.run_id}/nested/classifier", "flowers")
    client.set_registered_model_alias("flowers", "champion", version.version)
    with mlflow.start_run() as two:
        mlflow.sklearn.log_model(model, "left", pip_requirements=requirements)
        mlflow.sklearn.log_model(model, "right", pip_requirements=requirements)
    with mlflow.start_run() as untagged:
        mlflow.sklearn.log_model(model, "plain", pip_requirements=requirements)
        client.delete_tag(untagged.info.run_id, "mlflow.log-model.history")
    return {"one": one.info.run_id, "two": two.info.run_id, "untagged": untagged.info.run_id}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
