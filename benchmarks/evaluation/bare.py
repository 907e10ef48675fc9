"""`bare.py ROWS TARGET MODEL…`: what anybody would write. The last line is JSON: seconds, and accuracies.

`asked` is reading the file and predicting, `measured` the scikit-learn's metrics, once, without intervals.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from sklearn import metrics


def main() -> None:
    """Read, predict with each, measure each."""
    rows, target, *models = sys.argv[1:]
    started = time.perf_counter()
    frame = pq.read_table(rows).to_pandas()
    truth = frame.pop(target)
    answers = []
    for name in models:
        model = pickle.loads(Path(name, "model.pkl").read_bytes())  # noqa: S301 -- the benchmark made it
        answers.append(model.predict(frame))
    asked = time.perf_counter()
    accuracies = []
    for answer in answers:
        accuracies.append(metrics.accuracy_score(truth, answer))
        metrics.balanced_accuracy_score(truth, answer)
        metrics.precision_recall_fscore_support(truth, answer, average="macro")
        metrics.f1_score(truth, answer, average="weighted")
        metrics.matthews_corrcoef(truth, answer)
        metrics.confusion_matrix(truth, answer)
    done = time.perf_counter()
    print(json.dumps({"asked": asked - started, "measured": done - asked, "accuracies": accuracies}))


if __name__ == "__main__":
    main()
