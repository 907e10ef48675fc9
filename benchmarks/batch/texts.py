"""fastText: short texts beside a bare loop over the library."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from statistics import median

import fasttext

from benchmarks.batch import rows
from benchmarks.batch.bench import CORES, Bench, batch_rows, column
from benchmarks.commands import CommandFailed
from benchmarks.table import Row
from runbake.flavors.fasttext import save_model

_MODEL_FILE = "model.bin"
_TRAINING_ROWS = 5_000


def texts(bench: Bench) -> list[Row]:
    """One core, the same batches; labels and probabilities are equal."""
    model, file = _model(bench.work), rows.text_file(bench.work / "texts.parquet", bench.sizes.text_rows)
    core, ours, loop = CORES[-1:], [], []
    for _ in range(bench.sizes.repeats):
        output, bare = bench.new("texts"), bench.new("bare")
        bare.mkdir()
        ours.append(bench.ours(model, [file], output, cores=core, python="fasttext").seconds)
        arguments = (model / _MODEL_FILE, bare / "out.parquet", str(batch_rows(output)), file)
        loop.append(bench.loop("texts", *arguments, cores=core, python="fasttext").seconds)
        print(f"texts: ours {ours[-1]:.1f} s, loop {loop[-1]:.1f} s", file=sys.stderr)
        for name in ("labels", "probabilities"):
            if column(output, name) != column(bare, name):
                raise CommandFailed(f"the job and the loop differ in {name}")
        shutil.rmtree(output)
    count, share = bench.sizes.text_rows, median(loop) / median(ours)
    return [
        Row(
            what=f"fastText, {count:,} texts of {rows.TEXT_LENGTH} words, one core",
            ours=f"{count / median(ours):,.0f} rows/s",
            peer=f"bare loop: {count / median(loop):,.0f} rows/s",
            found=f"{share:.0%} of the loop",
            limit="80 %",
            reached=share >= 0.8,
        )
    ]


def _model(work: Path) -> Path:
    training = work / "training.txt"
    lines = [
        f"__label__{'praise' if text.count('good') > text.count('bad') else 'blame'} {text}\n"
        for text in rows.texts(_TRAINING_ROWS)
    ]
    training.write_text("".join(lines))
    model = fasttext.train_supervised(str(training), dim=50, thread=1, verbose=0)
    save_model(model, work / "fasttext")
    return work / "fasttext"
