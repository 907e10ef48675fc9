# mypy: ignore-errors
"""What a BentoML user writes by hand: an array in, an array out."""

import os
import pickle

import bentoml
import numpy as np
from numpy.typing import NDArray


@bentoml.service(workers=1)
class Classifier:
    def __init__(self) -> None:
        with open(os.environ["BENCHMARK_MODEL"] + "/model.pkl", "rb") as file:
            self.model = pickle.load(file)  # noqa: S301

    @bentoml.api(route="/invocations")
    def invocations(self, rows: NDArray[np.float64]) -> NDArray[np.int64]:
        return self.model.predict(rows)
