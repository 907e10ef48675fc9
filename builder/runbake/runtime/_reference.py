"""Runs inside the image, beside the model's lock: what does MLflow itself answer?

mlflow-skinny lies in PROBE_REFERENCE; nothing of runbake's runtime is imported. Prints one JSON document.
"""

import json
import os
import sys
import warnings

sys.path.append(os.environ["PROBE_REFERENCE"])
warnings.simplefilter("ignore")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow  # noqa: E402
from mlflow.pyfunc import load_model, scoring_server  # noqa: E402

with open(os.environ["PROBE_REQUEST"], encoding="utf-8") as request:
    body = request.read()
model = load_model(os.environ["PROBE_MODEL"])
schema = model.metadata.get_input_schema()  # type: ignore[no-untyped-call]
response = scoring_server.invocations(body, "application/json", model, schema)  # type: ignore[no-untyped-call]
print(json.dumps({"mlflow": mlflow.__version__, "status": response.status, "answer": response.response}))
