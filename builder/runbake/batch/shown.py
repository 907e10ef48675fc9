"""What a batch output tells of itself: its manifest, or how far it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbake.errors import TraceError
from runbake_serving.contract import (
    BATCH_MANIFEST,
    BATCH_MANIFEST_SCHEMA,
    BATCH_PLAN,
    BATCH_PLAN_SCHEMA,
    BATCH_RECORDS,
)

_REASONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output: the document that it is told from, and the lines for a person.

    Attributes:
        complete: the manifest is there; else the document is the plan.
    """

    complete: bool
    document: dict[str, Any]
    lines: tuple[tuple[str, str], ...]


def read_output(root: Path) -> Output:
    """Read what an output directory tells.

    Raises:
        TraceError: no job was begun there, or its documents are not of a batch job.
    """
    manifest = _read(root / BATCH_MANIFEST, BATCH_MANIFEST_SCHEMA)
    plan = manifest or _read(root / BATCH_PLAN, BATCH_PLAN_SCHEMA)
    if plan is None:
        raise TraceError(
            f"{root} is no output of a batch job", hint=f"name the directory of {BATCH_MANIFEST}"
        )
    try:
        lines = tuple(_of_manifest(plan) if manifest else _of_plan(plan, root))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TraceError(f"{root} has documents that no batch job wrote: {error!r}"[:500]) from error
    return Output(complete=manifest is not None, document=plan, lines=lines)


def _read(path: Path, schema: str) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path} is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise TraceError(f"{path} is not a document of a batch job", hint=f"its schema would be {schema}")
    return document


def _of_manifest(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rows, rejected = int(manifest["rows_in"]), int(manifest["rejected"])
    yield "state", str(manifest["state"]).replace("_", " ")
    yield "rows", f"{rows:,} in, {int(manifest['rows_out']):,} out, {rejected:,} rejected"
    reasons = sorted(manifest["reasons"].items(), key=lambda item: (-int(item[1]), item[0]))
    for reason, count in reasons[:_REASONS]:
        yield "rejected", f"{int(count):,}  {reason}"
    if len(reasons) > _REASONS:
        yield "rejected", f"for {len(reasons) - _REASONS} more reasons: --json has all"
    yield "columns", ", ".join(f"{name} {kind}" for name, kind in manifest["columns"].items())
    yield "input", _files([file["uri"] for file in manifest["files"]])
    took_s = float(manifest["ended_at"]) - float(manifest["started_at"])
    pace = f", {rows / took_s:,.0f} rows/s" if took_s > 0 else ""
    parts = len(manifest["parts"])
    divided = f" for {parts} part{'s' if parts != 1 else ''}"
    yield "took", f"{took_s:,.1f} s{divided}{pace}; ended {_time(manifest['ended_at'])}"
    if manifest.get("image_digest"):
        yield "image", str(manifest["image_digest"])
    yield from _origin(manifest)


def _origin(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    label_file = manifest.get("provenance")
    if not label_file:
        return
    yield "label file", str(manifest["provenance_digest"])
    yield "run", str(label_file["run"]["id"])


def _of_plan(plan: dict[str, Any], root: Path) -> Iterator[tuple[str, str]]:
    there = {path.stem for path in (root / BATCH_RECORDS).glob("*.json")}
    done = sum(part[0] in there for part in plan["parts"])
    yield "state", f"incomplete: {done} of {len(plan['parts'])} parts are there; the same command continues"
    yield "input", _files([file["uri"] for file in plan["files"]])


def _files(uris: list[Any]) -> str:
    if not uris:
        return "no files"
    return f"{uris[0]}" + (f" and {len(uris) - 1} more files" if len(uris) > 1 else "")


def _time(seconds: Any) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
