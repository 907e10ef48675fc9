"""Logs the runs that the tests read, with the full MLflow 3 client; prints their ids as one JSON object.

A process of its own, so that MLflow's global state (tracking URI, active run) stays out of the tests'.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, RunTag
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

HOSTILE = "line one\nline two\r\n\"quotes\" 'single' $(touch /tmp/pwned) {{ user `id` }} \x1b[31m\u2028<b>"
REQUIREMENTS = ["scikit-learn==1.9.1", "skops"]


def main(uri: str) -> dict[str, str]:
    """Every run by the name the tests use."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    data = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=300).fit(data.data, data.target)
    ids: dict[str, str] = {}

    def log(name: str = "classifier", **more: object) -> str:
        info = mlflow.sklearn.log_model(model, name=name, pip_requirements=REQUIREMENTS, **more)
        return str(info.model_id)

    mlflow.set_experiment("iris")
    with mlflow.start_run(run_name="the good one") as run:
        mlflow.log_params({"max_iter": 300, "hostile": HOSTILE, "long": "x" * 6000})
        mlflow.log_metric("loss", 0.9, step=1)
        mlflow.log_metric("loss", 0.5, step=2)
        mlflow.log_metric("accuracy", 0.97)
        mlflow.set_tags({"note": HOSTILE, "long": "y" * 8000})
        client.log_batch(
            run.info.run_id,
            tags=[
                RunTag("mlflow.source.git.commit", "9b1e4d2f" * 5),
                RunTag("mlflow.source.git.repoURL", "https://ci:hunter2@git.example.com/iris.git"),
                RunTag("mlflow.source.git.branch", "main"),
                RunTag("mlflow.docker.image.uri", "not allow-listed"),
            ],
        )
        frame = data.frame.astype({"target": "float64"})
        mlflow.log_input(mlflow.data.from_pandas(frame, name="iris", targets="target"), context="training")
        mlflow.log_input(
            mlflow.data.from_numpy(
                np.ones((3, 2)), name="held-out", source="https://u:pw@data.example.com/t"
            ),
            context="testing",
        )
        ids["good_model"] = log(
            signature=infer_signature(data.data, model.predict(data.data)),
            input_example=data.data.head(3),
            metadata={"owner": "lab", "text": HOSTILE},
        )
        ids["good"] = run.info.run_id
    client.log_metric(run.info.run_id, "loss", 0.1, timestamp=int(time.time() * 1000) + 60_000, step=3)
    client.log_metric(run.info.run_id, "afterwards", 1.0, timestamp=int(time.time() * 1000) + 60_000)
    client.set_tag(run.info.run_id, "promote", "true")
    version = mlflow.register_model(f"models:/{ids['good_model']}", "flowers")
    client.set_registered_model_alias("flowers", "champion", version.version)
    mlflow.register_model(f"runs:/{ids['good']}/classifier", "flowers")
    client.create_registered_model("copies")
    client.copy_model_version("models:/flowers/1", "copies")

    with mlflow.start_run() as run:
        ids["two_same_a"], ids["two_same_b"] = log(), log()
        ids["two_same"] = run.info.run_id
    with mlflow.start_run() as run:
        ids["left"], ids["right"] = log("left"), log("right")
        ids["two_names"] = run.info.run_id
    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
        ids["no_model"] = run.info.run_id
    with mlflow.start_run() as run:
        ids["pending"] = run.info.run_id
        ids["pending_model"] = client.create_logged_model(
            run.info.experiment_id, name="half", source_run_id=run.info.run_id
        ).model_id
    with mlflow.start_run() as run:
        ids["failed_model_run"] = run.info.run_id
        broken = client.create_logged_model(
            run.info.experiment_id, name="broken", source_run_id=run.info.run_id
        )
        client.finalize_logged_model(broken.model_id, LoggedModelStatus.FAILED)
    with mlflow.start_run() as run:
        ids["many"] = run.info.run_id
        for number in range(120):
            made = client.create_logged_model(
                run.info.experiment_id, name=f"step-{number:03}", source_run_id=run.info.run_id
            )
            client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    for status in ("FAILED", "KILLED"):
        run = client.create_run(mlflow.get_experiment_by_name("iris").experiment_id)
        client.set_tag(run.info.run_id, "promote", "true")
        client.set_terminated(run.info.run_id, status)
        ids[status.lower()] = run.info.run_id
    running = client.create_run(mlflow.get_experiment_by_name("iris").experiment_id)
    client.set_tag(running.info.run_id, "promote", "true")
    ids["running"] = running.info.run_id
    with mlflow.start_run() as run:
        ids["deleted_model"] = log()
        ids["deleted"] = run.info.run_id
    mlflow.register_model(f"models:/{ids['deleted_model']}", "orphan")
    client.delete_run(ids["deleted"])
    ids["outside_model"] = mlflow.sklearn.log_model(model, name="outside", pip_requirements=[]).model_id

    mlflow.set_experiment("pathological")
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "MLmodel").write_text("flavors:\n  sklearn: {}\n bad indent: [\n")
        (directory / "requirements.txt").write_text("scikit-learn\n")
        mlflow.log_artifacts(scratch, "old/style")
        mlflow.log_artifacts(scratch, "shallow")
        ids["old_style"] = run.info.run_id
    mlflow.set_experiment("quiet")
    with mlflow.start_run() as run:
        ids["quiet"] = run.info.run_id
        ids["quiet_model"] = log()
    for name in ("first", "second", "third"):
        with mlflow.start_run(run_name=name) as run:
            mlflow.set_experiment("quiet")
            log()
            ids[name] = run.info.run_id
    return ids | {"hostile": HOSTILE}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
