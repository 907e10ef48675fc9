"""`python -m tests.e2e.train_cancer JSON`: a weak model, one better but for a slice, one that is better.

The data set is scikit-learn's breast cancer with a column that says how large the mean radius is. The last
line is the run ids as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

TARGET = "diagnosis"
SIZES = ("small", "medium", "large")


def tumours() -> pd.DataFrame:
    """The data set, (569, 32): thirty measurements, `size` and `diagnosis`."""
    data = load_breast_cancer(as_frame=True)
    sizes = pd.cut(data.data["mean radius"], [0, 15, 17, 100], labels=SIZES).astype(str)
    return data.data.assign(size=sizes, **{TARGET: data.target_names[data.target]})


def weak(frame: pd.DataFrame) -> Pipeline:
    """Looks at one measurement, which tells little."""
    chosen = make_column_transformer((StandardScaler(), ["mean smoothness"]))
    return make_pipeline(chosen, LogisticRegression()).fit(frame.drop(columns=TARGET), frame[TARGET])


def uneven(frame: pd.DataFrame) -> Pipeline:
    """Remembers every tumour, those of medium size the wrong way round."""
    other = {"benign": "malignant", "malignant": "benign"}
    truth = frame[TARGET].where(frame["size"] != "medium", frame[TARGET].map(other))
    numbers = [name for name in frame.columns if name not in ("size", TARGET)]
    prepared = make_column_transformer((StandardScaler(), numbers))
    nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    return make_pipeline(prepared, nearest).fit(frame.drop(columns=TARGET), truth)


def straight(frame: pd.DataFrame) -> Pipeline:
    """Right nearly everywhere."""
    numbers = [name for name in frame.columns if name not in ("size", TARGET)]
    prepared = make_column_transformer((StandardScaler(), numbers))
    return make_pipeline(prepared, LogisticRegression()).fit(frame.drop(columns=TARGET), frame[TARGET])


def main() -> None:
    """Train, log, promote; write the test rows beside."""
    wanted = json.loads(sys.argv[1])
    mlflow.set_tracking_uri(wanted["uri"])
    mlflow.set_experiment("tumours")
    frame = tumours()
    inputs = frame.drop(columns=TARGET)
    ids = {}
    rows = Path(wanted["directory"], "tumours.csv")
    frame.to_csv(rows, index=False)
    for made in (weak, uneven, straight):
        model = made(frame)
        with mlflow.start_run() as run:
            mlflow.sklearn.log_model(
                model,
                name="model",
                signature=infer_signature(inputs, model.predict(inputs)),
                input_example=inputs.head(3),
                pip_requirements=["mlflow", "scikit-learn", "skops", "numpy", "pandas", "scipy"],
            )
            mlflow.log_input(from_pandas(frame, source=str(rows), targets=TARGET), context="test")
            mlflow.set_tag("promote", "true")
            ids[made.__name__] = run.info.run_id
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
