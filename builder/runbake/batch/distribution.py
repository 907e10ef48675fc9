"""How the values of an output's columns are spread: read from its files, row by row, in bounded memory."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbake.errors import ConfigError, TraceError

BINS = 20
_MOST_VALUES = 12
"""As many different values are told one by one; of more, texts the most frequent, numbers as a histogram."""
_MOST_KEPT = 10_000
_BATCH_ROWS = 65_536
_INTEGER = re.compile(r"-?[0-9]{1,300}")
_PART = re.compile(r"part-\d+(-\d+)*\.(parquet|csv|jsonl)")

Row = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """So many values of one kind; `label` is a value, or the range `low … high`."""

    label: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One column.

    Attributes:
        values: how many there are, those in lists counted one by one.
        gaps: missing, and numbers that are not finite.
        bars: in the order of the values for numbers, else the most frequent first.
        others: values that no bar counts.
    """

    column: str
    values: int
    gaps: int
    bars: tuple[Bar, ...]
    others: int

    @property
    def pairs(self) -> tuple[tuple[str, int], ...]:
        """Label and count of each bar."""
        return tuple((bar.label, bar.count) for bar in self.bars)


def distributions(root: Path, manifest: dict[str, Any]) -> tuple[Distribution, ...]:
    """Every column of a complete output that is not copied from the input by name.

    Raises:
        TraceError: a file is missing, damaged, or none that a batch job writes.
        ConfigError: the output is Parquet, and pyarrow is not here.
    """
    try:
        names = [part["data"]["name"] for part in manifest["parts"] if part["data"]]
        kept, columns = set(manifest["job"]["output"]["keep"]), list(manifest["columns"])
    except (KeyError, TypeError) as error:
        raise TraceError(f"{root} has a manifest that no batch job wrote: {error!r}"[:500]) from error
    wanted = [column for column in columns if column not in kept]
    paths = [_path(root, name) for name in names]

    def rows() -> Iterator[Row]:
        for path in paths:
            yield from _rows(path, wanted)

    seen = {column: _Seen() for column in wanted}
    for row in rows():
        for column, value in row:
            seen[column].add(value)
    ranged = {column: one for column, one in seen.items() if one.ranged}
    if ranged:
        for row in rows():
            for column, value in row:
                if column in ranged:
                    ranged[column].place(value)
    return tuple(one.told(column) for column, one in seen.items())


@dataclass(slots=True)
class _Seen:
    """What one column held so far."""

    values: int = 0
    gaps: int = 0
    numbers: int = 0
    low: float = math.inf
    high: float = -math.inf
    counts: Counter[str] = field(default_factory=Counter)
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    many: bool = False

    @property
    def ranged(self) -> bool:
        """Whether its values are numbers, and too many to be told one by one."""
        several = self.many or len(self.counts) > _MOST_VALUES
        return several and self.numbers == self.values and self.low < self.high

    def add(self, value: Any) -> None:
        for one in _single(value):
            number = _number(one)
            if one is None or (number is not None and not math.isfinite(number)):
                self.gaps += 1
                continue
            self.values += 1
            if number is not None:
                self.numbers += 1
                self.low, self.high = min(self.low, number), max(self.high, number)
            self._count(_text(one))

    def _count(self, text: str) -> None:
        if text in self.counts or len(self.counts) < _MOST_KEPT:
            self.counts[text] += 1
        else:
            self.many = True

    def place(self, value: Any) -> None:
        for one in _single(value):
            number = _number(one)
            if number is not None and math.isfinite(number):
                # Halved first: the span of two huge numbers is not finite.
                share = (number / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
                self.bins[min(int(share * BINS), BINS - 1)] += 1

    def told(self, column: str) -> Distribution:
        bars = self._ranges() if self.ranged else self._most_frequent()
        counted = sum(bar.count for bar in bars)
        return Distribution(
            column=column, values=self.values, gaps=self.gaps, bars=bars, others=self.values - counted
        )

    def _ranges(self) -> tuple[Bar, ...]:
        edges = [self.low + (self.high / BINS - self.low / BINS) * position for position in range(BINS)]
        edges.append(self.high)
        return tuple(
            Bar(label=f"{low:.4g} … {high:.4g}", count=count)
            for low, high, count in zip(edges[:-1], edges[1:], self.bins, strict=True)
        )

    def _most_frequent(self) -> tuple[Bar, ...]:
        found = self.counts.most_common(_MOST_VALUES)
        if self.values and self.numbers == self.values:
            found.sort(key=lambda item: float(item[0]))
        return tuple(Bar(label=text, count=count) for text, count in found)


def _single(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else (value,)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:200]
    return json.dumps(value, default=str, ensure_ascii=False)[:200]


def _path(root: Path, name: Any) -> Path:
    # The manifest may be anybody's: it names no file outside its directory.
    if not isinstance(name, str) or not _PART.fullmatch(name):
        raise TraceError(f"{root} has a manifest that names {str(name)[:100]!r} as a part's file")
    return root / name


def _rows(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    readers: dict[str, Callable[[Path, Sequence[str]], Iterator[Row]]] = {
        ".parquet": _of_parquet,
        ".csv": _of_csv,
        ".jsonl": _of_lines,
    }
    try:
        yield from readers[path.suffix](path, wanted)
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise TraceError(
            f"{path} is damaged: {str(error)[:200]}", hint="its sha256 is in the manifest"
        ) from error


def _of_parquet(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            f"{path} is Parquet, and reading it needs pyarrow", hint="pip install 'runbake[arrow]'"
        ) from error
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
            columns = [batch.column(name).to_pylist() for name in wanted]
            for values in zip(*columns, strict=True):
                yield tuple(zip(wanted, values, strict=True))


def _of_csv(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            yield tuple((name, _of_field(record[name])) for name in wanted)


def _of_field(text: str) -> Any:
    """A number, or the text as it is; a gap is an empty field."""
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return float(text) if text else None
    except ValueError:
        return json.loads(text) if text[:1] == "[" else text


def _of_lines(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            yield tuple((name, record[name]) for name in wanted)
