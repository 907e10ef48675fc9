"""`python -m tests.e2e.train_fasttext URI DIRECTORY`: log fastText models; prints MLflow's answers as JSON.

For each run its id and the answer of MLflow's pyfunc in this process to `TEXTS`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from runbake.flavors import fasttext as ours
from tests.integration.flavors.fasttext_models import main as train

TEXTS = ["goal match", "vote\nlaw", "", "unknown words", "music stage"]


def log(directory: Path) -> dict[str, Any]:
    """Log a classifier, a bare quantized file that is adopted, and an embedding."""
    mlflow.set_experiment("fasttext")
    runs = {}
    with mlflow.start_run(tags={"promote": "true"}) as run:
        ours.log_model(directory / "classifier.bin", "model", input_example=TEXTS[:2])
        runs["classifier"] = run.info.run_id
    with mlflow.start_run(tags={"promote": "true"}) as run:
        mlflow.log_artifact(str(directory / "classifier.ftz"))
        runs["adopted"] = run.info.run_id
    ours.adopt(runs["adopted"], "classifier.ftz", input_example="goal match")
    with mlflow.start_run(tags={"promote": "true"}) as run:
        ours.log_model(directory / "vectors.bin", "model", input_example=TEXTS[:1])
        runs["vectors"] = run.info.run_id
    return {name: {"run": run, "answer": _answer(run)} for name, run in runs.items()}


def _answer(run: str) -> Any:
    models = mlflow.search_logged_models(filter_string=f"source_run_id = '{run}'", output_format="list")
    answer = mlflow.pyfunc.load_model(f"models:/{models[0].model_id}").predict(pd.DataFrame({"text": TEXTS}))
    return answer.to_dict("records") if isinstance(answer, pd.DataFrame) else answer.tolist()


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    train(Path(sys.argv[2]))
    print(json.dumps(log(Path(sys.argv[2]))))
