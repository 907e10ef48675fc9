"""Train a classifier of wines and log it to MLflow with all that makes its run traceable.

    MLFLOW_TRACKING_URI=http://127.0.0.1:5001 python examples/train_wine.py

The data set comes with scikit-learn: 178 Italian wines of three cultivars, each with 13 measurements
(https://archive.ics.uci.edu/dataset/109/wine). The last line on stdout is the run id.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

EXPERIMENT = "wine-demo"
TARGET = "cultivar"
PARAMS = {"C": 0.5, "max_iter": 500}
SEED = 7
REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")


def wines() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training and the test wines, (133, 14) and (45, 14); the same split every time."""
    data = load_wine(as_frame=True)
    frame = data.data.assign(**{TARGET: data.target_names[data.target]})
    train, test = train_test_split(frame, test_size=0.25, random_state=SEED, stratify=frame[TARGET])
    return train.reset_index(drop=True), test.reset_index(drop=True)


def fit(train: pd.DataFrame) -> Pipeline:
    """Scale the measurements, then separate the cultivars by a linear model."""
    model = make_pipeline(StandardScaler(), LogisticRegression(**PARAMS, random_state=SEED))
    return model.fit(train.drop(columns=TARGET), train[TARGET])


def metrics_of(model: Pipeline, test: pd.DataFrame) -> dict[str, float]:
    """How well the model tells the test wines apart."""
    measurements, truth = test.drop(columns=TARGET), test[TARGET]
    guesses = model.predict(measurements)
    return {
        "test_accuracy": float(accuracy_score(truth, guesses)),
        "test_f1_macro": float(f1_score(truth, guesses, average="macro")),
        "test_log_loss": float(log_loss(truth, model.predict_proba(measurements))),
    }


def log_run(model: Pipeline, train: pd.DataFrame, test: pd.DataFrame) -> str:
    """Log parameters, both data sets, metrics and the model with signature and example; the run id."""
    measurements = train.drop(columns=TARGET)
    with mlflow.start_run() as run:
        mlflow.log_params({**PARAMS, "seed": SEED, "train_rows": len(train)})
        for name, frame, context in (("wine-train", train, "training"), ("wine-test", test, "test")):
            mlflow.log_input(from_pandas(frame, name=name, targets=TARGET), context=context)
        mlflow.log_metrics(metrics_of(model, test))
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(measurements, model.predict(measurements)),
            input_example=measurements.head(3),
            # Said rather than guessed: MLflow's guess also names what merely happens to be imported.
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
    return str(run.info.run_id)


def main() -> None:
    """Command line: where to write the wines that the model has not seen, if anywhere."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--holdout", type=Path, help="write the test wines to this csv file")
    arguments = parser.parse_args()
    mlflow.set_experiment(EXPERIMENT)
    train, test = wines()
    model = fit(train)
    run_id = log_run(model, train, test)
    if arguments.holdout:
        test.to_csv(arguments.holdout, index=False)
    print(run_id)


if __name__ == "__main__":
    main()
