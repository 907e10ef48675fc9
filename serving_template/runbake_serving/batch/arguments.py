"""The options of `batch`, and the job that they describe; beside `--spec`, what is given here wins. Pure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from runbake_serving.batch.failures import BadSpec
from runbake_serving.batch.spec import (
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    JobSpec,
    MaxRejects,
    max_rejects_of,
    spec_of,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `batch`; docs/batch.md has their table."""
    parser.add_argument(
        "step", nargs="?", choices=("finish",), help="check all shards' parts, write the manifest"
    )
    parser.add_argument("--spec", metavar="FILE", help="the job as JSON")
    parser.add_argument("--input", action="append", metavar="URI", help="file, directory or glob; repeatable")
    parser.add_argument("--output", metavar="URI", help="a directory or prefix of its own")
    parser.add_argument("--input-format", choices=INPUT_FORMATS)
    parser.add_argument("--csv-delimiter", metavar="CHARACTER")
    parser.add_argument("--csv-encoding", metavar="NAME")
    parser.add_argument("--csv-header", choices=("present", "absent"))
    parser.add_argument("--column", action="append", metavar="MODEL=INPUT", help="repeatable")
    parser.add_argument("--select", action="append", metavar="NAME", help="repeatable")
    parser.add_argument("--output-format", choices=OUTPUT_FORMATS)
    parser.add_argument("--keep", action="append", metavar="NAME", help="repeatable; * keeps every column")
    parser.add_argument("--prediction", metavar="NAME")
    parser.add_argument("--param", action="append", metavar="NAME=JSON", help="repeatable")
    parser.add_argument("--batch-rows", type=int, metavar="N")
    parser.add_argument("--part-rows", type=int, metavar="N")
    parser.add_argument("--memory", metavar="SIZE")
    parser.add_argument("--workers", type=int, metavar="N")
    parser.add_argument("--max-rejects", metavar="N|P%%")
    parser.add_argument("--shard", metavar="I/N")
    parser.add_argument("--scratch", metavar="DIR", help="where parts for s3:// are made")


def spec_with(chosen: argparse.Namespace, text: bytes | None) -> JobSpec:
    """The job in `text`, the content of `--spec`, with the options laid over it.

    Raises:
        BadSpec: it is no job; every fault is named.
    """
    document = _document(text, str(chosen.spec))
    options: Mapping[str, Mapping[str, Any]] = {
        "input": {"uris": chosen.input, "format": chosen.input_format, "select": chosen.select},
        "output": {
            "uri": chosen.output,
            "format": chosen.output_format,
            "keep": chosen.keep,
            "prediction": chosen.prediction,
        },
    }
    for name, values in options.items():
        _lay_over(document, name, values)
    csv = {
        "delimiter": "\t" if chosen.csv_delimiter in ("\\t", "tab") else chosen.csv_delimiter,
        "encoding": chosen.csv_encoding,
        "header": {None: None, "present": True, "absent": False}[chosen.csv_header],
    }
    if isinstance(document["input"], dict):
        _lay_over(document["input"], "csv", csv)
        _lay_over(document["input"], "columns", _pairs(chosen.column, "--column"))
    params = {name: _json(value, name) for name, value in _pairs(chosen.param, "--param").items()}
    _lay_over(document, "params", params)
    for name in ("batch_rows", "part_rows", "memory", "workers", "max_rejects"):
        if getattr(chosen, name) is not None:
            document[name] = getattr(chosen, name)
    return spec_of(document, where=chosen.spec or "the job")


def finish_of(chosen: argparse.Namespace) -> tuple[str, MaxRejects | None]:
    """The output that `batch finish` sums up, and the rejects that it accepts where they are given anew.

    Raises:
        BadSpec: there is no output, or other options were given.
    """
    if not chosen.output or chosen.input or chosen.spec:
        raise BadSpec(
            "finish takes --output, and the job from there", hint="--output URI [--max-rejects N|P%]"
        )
    try:
        return chosen.output, max_rejects_of(chosen.max_rejects) if chosen.max_rejects else None
    except ValueError as error:
        raise BadSpec(f"--max-rejects: {error}") from error


def _document(text: bytes | None, where: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadSpec(f"{where} is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise BadSpec(f"{where} is not a JSON object")
    return document


def _lay_over(document: dict[str, Any], name: str, values: Mapping[str, Any]) -> None:
    section = document.setdefault(name, {})
    if section is None:
        section = document[name] = {}
    if isinstance(section, dict):
        section.update({key: value for key, value in values.items() if value is not None})


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = dict[str, str]()
    for item in given or ():
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise BadSpec(f"{option} {item[:60]!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadSpec(
            f"--param {name}: the value is not JSON", hint="a text is written with quotes: NAME='\"text\"'"
        ) from error
