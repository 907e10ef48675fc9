"""A bare loop over fastText's C++ `predict`: pyarrow reads, the library answers, pyarrow writes.

Arguments: the model's file, the output's file, rows of one batch, the input's file.
"""

from __future__ import annotations

import sys

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq

MODEL = fasttext.load_model(sys.argv[1])
SCHEMA = pa.schema([("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float64()))])

with pq.ParquetWriter(sys.argv[2], SCHEMA) as writer:
    for batch in pq.ParquetFile(sys.argv[4]).iter_batches(batch_size=int(sys.argv[3])):
        answers = [MODEL.f.predict(text + "\n", 1, 0.0, "strict") for text in batch.column(0).to_pylist()]
        labels = [[label.removeprefix("__label__") for _, label in answer] for answer in answers]
        probabilities = [[probability for probability, _ in answer] for answer in answers]
        writer.write_batch(pa.record_batch([pa.array(labels), pa.array(probabilities)], schema=SCHEMA))
