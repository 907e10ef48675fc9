# mypy: ignore-errors
"""What a LitServe user writes by hand: an array in, a list out."""

import os
import pickle
import sys
from typing import Any

import litserve
import numpy as np


class Classifier(litserve.LitAPI):
    def setup(self, _device: str) -> None:
        with open(os.environ["BENCHMARK_MODEL"] + "/model.pkl", "rb") as file:
            self.model = pickle.load(file)  # noqa: S301

    def decode_request(self, request: dict[str, Any]) -> Any:
        return np.array(request["rows"])

    def predict(self, rows: Any) -> Any:
        return self.model.predict(rows)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(api_path="/invocations"), accelerator="cpu", workers_per_device=1, timeout=60
    )
    server.run(
        port=int(sys.argv[1]),
        host="127.0.0.1",
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
