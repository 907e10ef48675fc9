"""The job: what to predict, from where, to where. docs/batch.md documents its JSON.

Pure: reads no file and no environment.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runbake_serving.batch.failures import BadSpec
from runbake_serving.contract import BATCH_JOB_SCHEMA
from runbake_serving.errors import RequestError, UnsupportedMedia
from runbake_serving.protocols.charsets import decoded

INPUT_FORMATS: Final = ("parquet", "csv", "jsonl", "arrow")
OUTPUT_FORMATS: Final = ("parquet", "csv", "jsonl")
EVERY_COLUMN: Final = "*"
PREDICTION: Final = "prediction"
_SIZE = re.compile(r"([0-9]+)\s*([KMGT]i?)?B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    """How csv files are written; `header` None looks at the first line, as the server does."""

    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxRejects:
    """How many rows may be rejected: a count, or a share of all rows (0 to 1)."""

    rows: int | None = 0
    share: float | None = None

    def allowed(self, rows: int) -> int:
        """Rejected rows that are accepted of so many."""
        return self.rows if self.rows is not None else math.floor(rows * (self.share or 0.0) + 1e-9)

    def __str__(self) -> str:
        """As it was given: `N` or `P%`."""
        return str(self.rows) if self.rows is not None else f"{(self.share or 0.0) * 100:g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One batch job.

    Attributes:
        inputs: files, directories and globs; local paths or `s3://` addresses.
        output: a directory or prefix that belongs to this job alone.
        input_format: None goes by the names of the files.
        columns: pairs of the model's column and the input's, where they differ.
        select: the input's columns that go to a model without named columns, in order; empty takes all.
        keep: the input's columns that are copied to the output; `*` copies all.
        prediction: name of the prediction's column where the signature has none.
        params: of the prediction, as `params` of /invocations.
        batch_rows: rows of one prediction; None finds out within the memory budget.
        part_rows: rows of one part, about.
        memory_bytes: what all workers together may take for rows; None takes half of what is free, and 1 GiB
            at most.
        workers: processes; None takes the CPUs.
        max_rejects: rejected rows that are accepted.
    """

    inputs: tuple[str, ...]
    output: str
    input_format: str | None = None
    csv: Csv = Csv()
    columns: tuple[tuple[str, str], ...] = ()
    select: tuple[str, ...] = ()
    output_format: str = "parquet"
    keep: tuple[str, ...] = ()
    prediction: str = PREDICTION
    params: Mapping[str, Any] = field(default_factory=dict)
    batch_rows: int | None = None
    part_rows: int = 500_000
    memory_bytes: int | None = None
    workers: int | None = None
    max_rejects: MaxRejects = MaxRejects()

    def to_json(self) -> dict[str, Any]:
        """The document that `spec_of` reads back: `spec_of(spec.to_json()) == spec`."""
        return {
            "schema": BATCH_JOB_SCHEMA,
            "input": {
                "uris": list(self.inputs),
                "format": self.input_format,
                "csv": {
                    "delimiter": self.csv.delimiter,
                    "encoding": self.csv.encoding,
                    "header": self.csv.header,
                },
                "columns": dict(self.columns),
                "select": list(self.select),
            },
            "output": {
                "uri": self.output,
                "format": self.output_format,
                "keep": list(self.keep),
                "prediction": self.prediction,
            },
            "params": dict(self.params),
            "batch_rows": self.batch_rows,
            "part_rows": self.part_rows,
            "memory": self.memory_bytes,
            "workers": self.workers,
            "max_rejects": str(self.max_rejects),
        }


def spec_of_text(text: str | bytes, *, where: str) -> JobSpec:
    """The job that this JSON text describes; `where` names it in messages.

    Raises:
        BadSpec: not JSON, or not a job; every fault is named.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadSpec(f"{where} is not JSON: {str(error)[:200]}") from error
    return spec_of(document, where=where)


def spec_of(document: Any, *, where: str = "the job") -> JobSpec:
    """The job that this document describes.

    Raises:
        BadSpec: it does not; every fault is named.
    """
    reader = _Reader(faults=[])
    spec = _read(reader, document)
    if reader.faults:
        raise BadSpec(
            f"{where}: " + "; ".join(reader.faults),
            hint="docs/batch.md has the keys of a job, with an example",
        )
    return spec


def size_bytes_of(text: str) -> int:
    """Bytes of `512MiB`, `2GB`, `1000000`.

    Raises:
        ValueError: another form.
    """
    matched = _SIZE.fullmatch(text.strip())
    if matched is None or int(matched[1]) == 0:
        raise ValueError(f"{text[:40]!r} is not a size such as 512MiB")
    unit = (matched[2] or "").upper()
    base = 1024 if unit.endswith("I") else 1000
    factor: int = base ** _POWERS[unit.removesuffix("I")]
    return int(matched[1]) * factor


def max_rejects_of(text: str) -> MaxRejects:
    """`N` rows, or `P%` of all rows.

    Raises:
        ValueError: another form.
    """
    number = text.strip()
    if number.isascii() and number.isdigit():
        return MaxRejects(rows=int(number))
    try:
        percent = float(number.removesuffix("%")) if number.endswith("%") else math.nan
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise ValueError(f"{text[:40]!r} is neither a number of rows nor a percentage such as 0.1%")
    return MaxRejects(rows=None, share=percent / 100)


# --- reading -------------------------------------------------------------------------------------------


def _read(reader: _Reader, document: Any) -> JobSpec:
    default = JobSpec(inputs=(), output="")
    top = reader.section(document, "", tuple(default.to_json()))
    if top.get("schema", BATCH_JOB_SCHEMA) != BATCH_JOB_SCHEMA:
        reader.faults.append(f"schema is not {BATCH_JOB_SCHEMA}")
    given = reader.section(top.get("input", {}), "input", ("uris", "format", "csv", "columns", "select"))
    csv = reader.section(given.get("csv"), "input.csv", ("delimiter", "encoding", "header"))
    output = reader.section(top.get("output", {}), "output", ("uri", "format", "keep", "prediction"))
    inputs = reader.texts(given.get("uris"), "input.uris")
    if not inputs:
        reader.faults.append("input.uris names no input")
    uri = reader.text(output.get("uri"), "output.uri", "")
    if not uri:
        reader.faults.append("output.uri names no output")
    return JobSpec(
        inputs=inputs,
        output=uri,
        input_format=reader.word(given.get("format"), "input.format", INPUT_FORMATS),
        csv=Csv(
            delimiter=reader.one_byte(csv.get("delimiter"), "input.csv.delimiter", ","),
            encoding=reader.encoding(csv.get("encoding"), "input.csv.encoding"),
            header=reader.flag(csv.get("header"), "input.csv.header"),
        ),
        columns=tuple(sorted(reader.text_pairs(given.get("columns"), "input.columns").items())),
        select=reader.texts(given.get("select"), "input.select"),
        output_format=reader.word(output.get("format"), "output.format", OUTPUT_FORMATS)
        or default.output_format,
        keep=reader.texts(output.get("keep"), "output.keep"),
        prediction=reader.text(output.get("prediction"), "output.prediction", PREDICTION) or PREDICTION,
        params=reader.section(top.get("params"), "params", None),
        batch_rows=reader.whole(top.get("batch_rows"), "batch_rows"),
        part_rows=reader.whole(top.get("part_rows"), "part_rows") or default.part_rows,
        memory_bytes=reader.size(top.get("memory"), "memory"),
        workers=reader.whole(top.get("workers"), "workers"),
        max_rejects=reader.rejects(top.get("max_rejects"), "max_rejects"),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes values of a type, or writes down what is wrong and goes on."""

    faults: list[str]

    def section(self, value: Any, name: str, known: tuple[str, ...] | None) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.faults.append(f"{name or 'it'} is not an object")
            return {}
        for key in value.keys() - set(known if known is not None else value):
            near = difflib.get_close_matches(key, known or (), n=1)
            guess = f" (did you mean {near[0]!r}?)" if near else ""
            self.faults.append(f"unknown key {f'{name}.{key}' if name else key!r}{guess}")
        return value

    def text(self, value: Any, name: str, default: str) -> str:
        if value is None:
            return default
        if not isinstance(value, str) or "\0" in value:
            self.faults.append(f"{name} is not a text")
            return default
        return value

    def texts(self, value: Any, name: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.faults.append(f"{name} is not a list of texts")
            return ()
        if len(set(value)) != len(value):
            self.faults.append(f"{name} names something twice")
        return tuple(value)

    def text_pairs(self, value: Any, name: str) -> dict[str, str]:
        pairs = self.section(value, name, None)
        if not all(isinstance(item, str) and item for item in pairs.values()):
            self.faults.append(f"{name} is not an object of texts")
            return {}
        return pairs

    def word(self, value: Any, name: str, words: tuple[str, ...]) -> str | None:
        if value is None:
            return None
        if value not in words:
            self.faults.append(f"{name} is not one of {', '.join(words)}")
            return None
        return str(value)

    def one_byte(self, value: Any, name: str, default: str) -> str:
        text = self.text(value, name, default)
        if len(text) != 1 or not text.isascii() or text in '"\r\n':
            self.faults.append(f"{name} is not a single ASCII character")
            return default
        return text

    def encoding(self, value: Any, name: str) -> str:
        text = self.text(value, name, "utf-8").lower()
        try:
            # Lines are found as bytes: codecs whose newline is not one byte cannot be read like that.
            if decoded(b'\n,"', text) != '\n,"':
                raise UnsupportedMedia("not ASCII's bytes")
        except RequestError:
            self.faults.append(
                f"{name} is not an encoding that keeps ASCII's bytes (utf-8, latin-1, cp1252, …)"
            )
            return "utf-8"
        return text

    def flag(self, value: Any, name: str) -> bool | None:
        if value is not None and not isinstance(value, bool):
            self.faults.append(f"{name} is not true, false or null")
            return None
        return value

    def whole(self, value: Any, name: str) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 40:
            self.faults.append(f"{name} is not a whole number above 0")
            return None
        return value

    def size(self, value: Any, name: str) -> int | None:
        if not isinstance(value, str):
            return self.whole(value, name)
        try:
            return size_bytes_of(value)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return None

    def rejects(self, value: Any, name: str) -> MaxRejects:
        if value is None:
            return MaxRejects()
        try:
            return max_rejects_of(str(value) if isinstance(value, (str, int)) else "")
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return MaxRejects()
