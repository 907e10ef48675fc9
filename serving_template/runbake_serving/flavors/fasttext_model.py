"""fastText models on their own: what a file holds, and the answers to texts.

This file lives twice: here, and as `runbake_fasttext.py` in the code of every fastText model that the toolkit
logs, where it is MLflow's loader. So it imports nothing of ours, and both sides read texts alike.

fastText takes one line. A line feed would end the text there and then, so each becomes a blank; every other
character stays, carriage returns and Unicode's line breaks included. A word that is one of the model's labels
is no word to fastText and is passed over. An empty text has an answer: that of the line's end alone, where
the model knows it, else no label.

Labels are answered without their prefix. fastText forgets a prefix other than `__label__` when it saves a
model, so MLmodel keeps it.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREDICT = "predict"
"""Labels and their probabilities, the most probable first."""
VECTOR = "get_sentence_vector"
PREDICT_FNS = (PREDICT, VECTOR)
LABEL_PREFIX = "__label__"

_MAGIC = 793712314
_NEWEST = 12
_KINDS = {1: "cbow", 2: "skipgram", 3: "supervised"}
_CENTROIDS = 256
_HEAD = struct.Struct("<ii12id")
_DICTIONARY = struct.Struct("<iiiqq")
_ENTRY = struct.Struct("<qb")
_SHAPE = struct.Struct("<qq")
_QUANTIZED = struct.Struct("<?qqi")
_QUANTIZER = struct.Struct("<iiii")
_LABEL = 1
_MOST_CELLS = 1 << 48
"""Bounds products of numbers that a damaged file may hold."""


class DamagedModel(ValueError):
    """A file that is not a whole fastText model; the message says where it stops making sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FastTextFile:
    """What a fastText file says of itself; `labels` are in the model's order, as they are in the file."""

    kind: str
    dimension: int
    quantized: bool
    labels: tuple[str, ...]

    @property
    def supervised(self) -> bool:
        """Whether it is a classifier."""
        return self.kind == "supervised"


def file_of(path: Path) -> FastTextFile:
    """Read a `.bin` or `.ftz` file's own description, and whether all of it is there.

    fastText itself reads a file that was cut off without a word, and predicts from what it happens to have.
    The matrices are stepped over, not read: a second for two million words.

    Raises:
        DamagedModel: not a fastText model, of a newer format, or not as long as it says.
        OSError: it cannot be read.

    Source: fastText 0.9.2, fasttext.cc, dictionary.cc, densematrix.cc, quantmatrix.cc, productquantizer.cc.
    """
    size_bytes = path.stat().st_size
    if size_bytes < _HEAD.size:
        raise DamagedModel(f"{path.name} is no fastText model: it has {size_bytes} bytes")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data, path.name)
        return _described(reader)


@dataclass(slots=True)
class _Reader:
    """Steps over a file whose every length may be a lie."""

    data: mmap.mmap
    name: str
    at: int = 0

    def take(self, form: struct.Struct, what: str) -> tuple[Any, ...]:
        start = self.at
        self.step(form.size, what)
        return form.unpack_from(self.data, start)

    def step(self, size_bytes: int, what: str) -> None:
        left = len(self.data) - self.at
        if not 0 <= size_bytes <= left:
            raise DamagedModel(f"{self.name} is damaged: {what} needs {size_bytes} bytes and {left} are left")
        self.at += size_bytes

    def text(self, what: str) -> bytes:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise DamagedModel(f"{self.name} is damaged: {what} does not end")
        start, self.at = self.at, end + 1
        return self.data[start:end]


def _described(reader: _Reader) -> FastTextFile:
    head = reader.take(_HEAD, "the head")
    magic, version, dimension, kind = head[0], head[1], head[2], head[9]
    if magic != _MAGIC:
        raise DamagedModel(f"{reader.name} is no fastText model: it does not begin as one")
    if version > _NEWEST:
        raise DamagedModel(f"{reader.name} is of fastText's format {version}; {_NEWEST} is the newest known")
    if kind not in _KINDS or dimension < 1:
        raise DamagedModel(f"{reader.name} is damaged: kind {kind}, {dimension} dimensions")
    labels = _labels(reader)
    quantized = bool(reader.take(struct.Struct("<?"), "the mark of quantization")[0])
    _step_over_matrix(reader, "the input matrix", quantized=quantized)
    output_too = bool(reader.take(struct.Struct("<?"), "the output's mark of quantization")[0])
    _step_over_matrix(reader, "the output matrix", quantized=quantized and output_too)
    if reader.at != len(reader.data):
        raise DamagedModel(f"{reader.name} is damaged: {len(reader.data) - reader.at} bytes after its end")
    return FastTextFile(kind=_KINDS[kind], dimension=dimension, quantized=quantized, labels=labels)


def _labels(reader: _Reader) -> tuple[str, ...]:
    size, words, labels, _, pruned = reader.take(_DICTIONARY, "the dictionary")
    if min(size, words, labels) < 0 or words + labels != size:
        raise DamagedModel(f"{reader.name} is damaged: {words} words and {labels} labels are {size} entries")
    found = []
    for position in range(size):
        word = reader.text(f"entry {position}")
        _, kind = reader.take(_ENTRY, f"entry {position}")
        if kind == _LABEL:
            found.append(word.decode("utf-8", "replace"))
    if len(found) != labels:
        raise DamagedModel(f"{reader.name} is damaged: {len(found)} labels where {labels} are announced")
    reader.step(8 * max(pruned, 0), "the pruned index")
    return tuple(found)


def _step_over_matrix(reader: _Reader, what: str, *, quantized: bool) -> None:
    if not quantized:
        rows, columns = reader.take(_SHAPE, what)
        reader.step(4 * _cells(reader, what, rows, columns), what)
        return
    with_norms, rows, columns, codes = reader.take(_QUANTIZED, what)
    _cells(reader, what, rows, columns)
    reader.step(codes, what)
    _step_over_quantizer(reader, what)
    if with_norms:
        reader.step(rows, what)
        _step_over_quantizer(reader, what)


def _step_over_quantizer(reader: _Reader, what: str) -> None:
    dimension, parts, part, _ = reader.take(_QUANTIZER, what)
    if dimension < 1 or parts < 1 or part < 1:
        raise DamagedModel(f"{reader.name} is damaged: {what} is quantized without dimensions")
    reader.step(4 * _CENTROIDS * dimension, what)


def _cells(reader: _Reader, what: str, rows: int, columns: int) -> int:
    if rows < 0 or columns < 0 or rows * columns > _MOST_CELLS:
        raise DamagedModel(f"{reader.name} is damaged: {what} has {rows} rows of {columns}")
    return int(rows * columns)


def texts_of(data: Any) -> list[str]:
    """The texts in `data`, one line each: a text, a list, an array, a Series, or a DataFrame of one column.

    Raises:
        ValueError: more than one column.
        TypeError: something that is not text.
    """
    if isinstance(data, str):
        values: Sequence[Any] = [data]
    elif hasattr(data, "columns"):
        if len(data.columns) != 1:
            raise ValueError(f"one column of texts is wanted, not {len(data.columns)}")
        values = data.iloc[:, 0].tolist()
    elif hasattr(data, "ravel") and hasattr(data, "shape"):
        if math.prod(data.shape[1:]) != 1:
            raise ValueError(f"one column of texts is wanted, not an array of shape {tuple(data.shape)}")
        values = data.ravel().tolist()
    else:
        values = list(data)
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(f"row {position}: a text is wanted, not {type(value).__name__}")
    return [value.replace("\n", " ") for value in values]


class Model:
    """A fastText model that answers as MLflow's models do: `predict(data, params)`.

    `loaded` is what `fasttext.load_model` gives, of whichever package, of a file with so many `labels`.
    """

    def __init__(self, loaded: Any, *, predict_fn: str, label_prefix: str, labels: int) -> None:
        self.loaded, self._most = loaded, labels
        self._vectors = predict_fn == VECTOR
        self._prefix = label_prefix

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """A DataFrame with lists `labels` and `probabilities` for each text, or an array of vectors.

        Params: `k` labels at most (1; -1 for all), with at least the probability `threshold` (0).

        Raises:
            ValueError, TypeError: the data, a text or a param is not what the model takes.
        """
        texts, given = texts_of(data), params or {}
        if self._vectors:
            return self._vectors_of(texts)
        return self._labels_of(texts, int(given.get("k", 1)), float(given.get("threshold", 0.0)))

    def _labels_of(self, texts: list[str], k: int, threshold: float) -> Any:
        import pandas as pd

        if k < -1 or k == 0:
            raise ValueError(f"k is the number of labels, or -1 for all of them, not {k}")
        if math.isnan(threshold):
            raise ValueError("threshold is not a number")
        # Not the packages' own wrapper: theirs differ in what they make of this, and of a list.
        ask, cut = self.loaded.f.predict, self._prefix
        # fastText makes room for as many as it is asked for, though there are not so many.
        k = min(k, self._most)
        labels, probabilities = list[list[str]](), list[list[float]]()
        for text in texts:
            found = ask(text + "\n", k, threshold, "strict")
            labels.append([label.removeprefix(cut) for _, label in found])
            probabilities.append([float(probability) for probability, _ in found])
        return pd.DataFrame({"labels": labels, "probabilities": probabilities})

    def _vectors_of(self, texts: list[str]) -> Any:
        import numpy as np

        if not texts:
            return np.empty((0, self.loaded.get_dimension()), dtype=np.float32)
        return np.stack([self.loaded.get_sentence_vector(text) for text in texts]).astype(np.float32)


def load(path: Path, config: Mapping[str, Any]) -> Model:
    """The model in the file `path`, as MLmodel's section `config` of the flavor says that it answers.

    Raises:
        DamagedModel: the file is not a whole model, or not one that can answer so.
        OSError: it cannot be read.
        ModuleNotFoundError: there is no `fasttext` to import.
    """
    predict_fn = str(config.get("predict_fn") or PREDICT)
    found = file_of(path)
    if predict_fn not in PREDICT_FNS:
        raise DamagedModel(f"MLmodel names {predict_fn!r}; fastText has {' and '.join(PREDICT_FNS)}")
    if predict_fn == PREDICT and not found.supervised:
        raise DamagedModel(f"{path.name} is a {found.kind} model: it has vectors, and no labels to predict")
    import fasttext

    prefix = config.get("label_prefix")
    return Model(
        fasttext.load_model(str(path)),
        predict_fn=predict_fn,
        label_prefix=LABEL_PREFIX if prefix is None else str(prefix),
        labels=len(found.labels),
    )


def _load_pyfunc(path: str) -> Model:
    """MLflow's door: the model whose file is `path`, with MLmodel beside it."""
    import yaml

    file = Path(path)
    document = yaml.safe_load((file.parent / "MLmodel").read_text(encoding="utf-8"))
    return load(file, document["flavors"]["fasttext"])
