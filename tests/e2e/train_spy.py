"""`python -m tests.e2e.train_spy URI`: log a model that answers with what it finds of its surroundings."""

from __future__ import annotations

import sys
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import infer_signature


class Spy(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc,unused-ignore]
    """Answers 1 for each row; or what it should not see."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Look around."""
        import importlib.util
        import os

        found = [
            f"{name}={value}"
            for name, value in sorted(os.environ.items())
            if name.startswith(("AWS_", "SPIED", "MLFLOW_TRACKING", "UV_", "DOCKER", "GOCD", "GO_"))
        ]
        # In the lock of no model of this kind, and beside every test.
        found += [name for name in ("pytest", "runbake", "ruff") if importlib.util.find_spec(name)]
        if os.listdir(os.path.expanduser("~")) and "rows.csv" in os.listdir(os.path.expanduser("~")):
            found.append("the user's home")
        return [";".join(found) or "1"] * len(model_input)


def main() -> None:
    """Log the model; the last word is the run."""
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment("spies")
    frame = pd.DataFrame({"x": [1, 2]})
    with mlflow.start_run() as run:
        mlflow.pyfunc.log_model(
            name="model",
            python_model=Spy(),
            signature=infer_signature(frame, ["1", "1"]),
            pip_requirements=["mlflow", "pandas", "cloudpickle"],
        )
        mlflow.set_tag("promote", "true")
    print(run.info.run_id)


if __name__ == "__main__":
    main()
