"""Runs inside the image, sent to its interpreter as text; prints one JSON document.

`probe` asks the running server what the model's own example asks, with the standard library only.
`reference` lets MLflow itself answer, from mlflow-skinny in PROBE_REFERENCE, and imports nothing of runbake.
"""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings
from typing import Any

MODEL = pathlib.Path(os.environ["PROBE_MODEL"])
PORT = int(os.environ["PROBE_PORT"])
SAMPLES = {
    "boolean": True,
    "integer": 1,
    "long": 1,
    "float": 0.5,
    "double": 0.5,
    "string": "a",
    "binary": "YQ==",
    "datetime": "2026-01-02T03:04:05",
}


def ask(
    method: str, path: str, body: str | None = None, timeout: float = 120.0
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace"), dict(response.getheaders())
    finally:
        connection.close()


def wait_until_ready() -> bool:
    deadline = time.monotonic() + float(os.environ["PROBE_DEADLINE_S"])
    while time.monotonic() < deadline:
        try:
            if ask("GET", "/ping", timeout=5.0)[0] == 200:
                return True
        except OSError:
            pass  # not listening yet; the deadline ends this
        time.sleep(0.05)
    return False


def example() -> tuple[str, str]:
    found = MODEL / "serving_input_example.json"
    if found.is_file():
        return "example", found.read_text()
    label_file = json.loads(pathlib.Path(os.environ["PROBE_PROVENANCE"]).read_text())
    inputs = (label_file["model"]["signature"] or {}).get("inputs")
    if not inputs:
        return "readiness", ""
    body = tensor_question(inputs) if inputs[0]["type"] == "tensor" else column_question(inputs)
    return ("signature", json.dumps(body)) if body is not None else ("readiness", "")


def tensor_question(inputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    def zeros(shape: list[int]) -> Any:
        if not shape:
            return 0
        return [zeros(shape[1:]) for _ in range(1 if shape[0] == -1 else shape[0])]

    values = [zeros(tensor["tensor-spec"]["shape"]) for tensor in inputs]
    names = [tensor.get("name") for tensor in inputs]
    if names == [None]:
        return {"inputs": values[0]}
    return {"inputs": dict(zip(names, values, strict=True))} if all(names) else None


def column_question(inputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    if any(column["type"] not in SAMPLES for column in inputs):
        return None
    names = [column.get("name") for column in inputs]
    split: dict[str, Any] = {"data": [[SAMPLES[column["type"]] for column in inputs]]}
    if all(names):
        split["columns"] = names
    return {"dataframe_split": split}


def answer_by_dataframe(request: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "runbake_serving", "predict"],
        input=request.encode(),
        env={**os.environ, "RUNBAKE_DATAFRAME_PATH": "always"},
        capture_output=True,
        check=False,
    )
    return (
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace")[-2000:],
    )


def probe() -> dict[str, Any]:
    started = time.monotonic()
    report: dict[str, Any] = {"ready": wait_until_ready(), "ready_s": round(time.monotonic() - started, 3)}
    if report["ready"]:
        report["kind"], report["request"] = example()
        if report["request"]:
            report["status"], report["answer"], _ = ask("POST", "/invocations", report["request"])
            report["dataframe"] = answer_by_dataframe(report["request"])
    return report


def reference() -> dict[str, Any]:
    kind, request = example()
    if not request:
        return {"kind": kind}
    sys.path.append(os.environ["PROBE_REFERENCE"])
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.pyfunc import load_model, scoring_server

    model = load_model(str(MODEL))
    schema = model.metadata.get_input_schema()  # type: ignore[no-untyped-call]
    response = scoring_server.invocations(request, "application/json", model, schema)  # type: ignore[no-untyped-call]
    return {
        "kind": kind,
        "mlflow": mlflow.__version__,
        "status": response.status,
        "answer": response.response,
    }


print(json.dumps({"probe": probe, "reference": reference}[os.environ["PROBE_MODE"]]()))
