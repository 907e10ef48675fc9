"""A bare loop, without anything of runbake's: pyarrow reads, the estimator predicts, pyarrow writes.

Arguments: the model's file, the directory of the output, rows of one prediction, processes, input files.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

warnings.simplefilter("ignore")
MODEL = pickle.loads(Path(sys.argv[1]).read_bytes())  # noqa: S301 -- the benchmark's own
OUTPUT, ROWS, PROCESSES, FILES = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]


def score(file: str) -> None:
    """Predict one file into one file of the same name."""
    schema = pa.schema([("prediction", pa.int64())])
    with pq.ParquetWriter(OUTPUT / Path(file).name, schema) as writer:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=ROWS):
            rows = np.column_stack([column.to_numpy() for column in batch.columns])
            writer.write_batch(pa.record_batch([pa.array(MODEL.predict(rows))], schema=schema))


if PROCESSES == 1:
    for one in FILES:
        score(one)
else:
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        pool.map(score, FILES, chunksize=1)
