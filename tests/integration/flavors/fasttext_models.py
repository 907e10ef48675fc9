"""`python -m tests.integration.flavors.fasttext_models DIRECTORY`: fastText models, small, of each kind.

A process of its own: the library prints what it does to the terminal, past Python.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import fasttext

SUBJECTS = {
    "sport": "ball goal team match win score",
    "politics": "vote law party state minister tax",
    "culture": "song film actor music stage show",
}


def write_texts(path: Path, prefix: str) -> None:
    """300 labelled lines of seven words."""
    draw, every = random.Random(1), " ".join(SUBJECTS.values()).split()  # noqa: S311
    with path.open("w") as file:
        for label, words in list(SUBJECTS.items()) * 100:
            picked = draw.choices(words.split(), k=5) + draw.choices(every, k=2)
            file.write(f"{prefix}{label} {' '.join(picked)}\n")


def main(directory: Path) -> None:
    """`classifier.bin`, `.ftz`, `hashes.bin` with labels that begin with #, and `vectors.bin`."""
    options = {"dim": 16, "thread": 1, "verbose": 0, "bucket": 2000}
    for prefix, name in (("__label__", "classifier.bin"), ("#", "hashes.bin")):
        texts = directory / "texts.txt"
        write_texts(texts, prefix)
        model = fasttext.train_supervised(
            str(texts), epoch=10, wordNgrams=2, minn=2, maxn=3, label=prefix, **options
        )
        model.save_model(str(directory / name))
        if prefix == "__label__":
            model.quantize(str(texts), qnorm=True, retrain=False, verbose=0)
            model.save_model(str(directory / "classifier.ftz"))
    vectors = fasttext.train_unsupervised(str(texts), epoch=2, minCount=1, **options)
    vectors.save_model(str(directory / "vectors.bin"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
