"""What a file of the chain names: a batch manifest, a stage's document, saved response headers. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import Any

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.provenance import label_file_bytes
from runbake_serving.contract import (
    BATCH_MANIFEST_SCHEMA,
    HEADER_IMAGE,
    HEADER_MODEL_VERSION,
    HEADER_PROVENANCE,
    HEADER_RUN_ID,
)

_STAGE = re.compile(r"https://runbake\.dev/schema/(?P<kind>[a-z-]{1,40})/v1")
_RUN = re.compile(r"[0-9a-f]{32}")
_REFERENCE = re.compile(r"[A-Za-z0-9.:-]{1,255}/[a-z0-9._/-]{1,255}@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What a file tells by itself, and where the way goes on.

    `told` are kinds and texts; `body` is a label file, b"" without one; `reference` an image by digest and
    `run` a run's id, each "" where the file names none.
    """

    told: tuple[tuple[str, str], ...]
    body: bytes = b""
    reference: str = ""
    run: str = ""


def stop_of_file(name: str, body: bytes) -> Stop:
    """The stop that a file is; `name` is for messages and the first line.

    Raises:
        TraceError: it is none, names nothing, or contradicts itself.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _of_headers(name, body)
    if not isinstance(document, dict):
        raise TraceError(f"{name} is no document of runbake")
    schema = document.get("schema")
    if schema == BATCH_MANIFEST_SCHEMA:
        return _of_manifest(name, document)
    matched = _STAGE.fullmatch(schema) if isinstance(schema, str) else None
    if matched is None:
        raise TraceError(f"{name} is no document of runbake: its schema is {str(schema)[:100]!r}")
    return _of_stage(name, matched["kind"], document)


def _of_manifest(name: str, manifest: Mapping[str, Any]) -> Stop:
    rows = f"{manifest.get('rows_in')} rows in, {manifest.get('rows_out')} out"
    told = (("batch", f"{name}, {rows}"), ("image", str(manifest.get("image_digest") or "")))
    label_file = manifest.get("provenance")
    if not isinstance(label_file, dict):
        raise TraceError(f"{name} carries no label file: its model was served without one")
    body = label_file_bytes(label_file)
    if str(Digest.of(body)) != manifest.get("provenance_digest"):
        raise TraceError(f"the label file in {name} is not the one that its digest names")
    return Stop(told=told, body=body)


def _of_stage(name: str, kind: str, document: Mapping[str, Any]) -> Stop:
    status = str(document.get("verdict") or document.get("status") or "")
    told = [("document", f"{name}, {' '.join(filter(None, (kind, status)))}")]
    gocd = document.get("gocd")
    if isinstance(gocd, dict):
        place = "/".join(str(gocd.get(key, "")) for key in ("pipeline", "counter", "stage"))
        told.append(("pipeline", " ".join(filter(None, (place, str(gocd.get("url") or ""))))))
    for key, stop in (("id", kind), ("instance", "machine"), ("name", "service")):
        if isinstance(found := document.get(key), str):
            told.append((stop, " ".join(filter(None, (found, str(document.get("region") or ""))))))
    candidate = document.get("candidate")
    named = (document, candidate if isinstance(candidate, dict) else {})
    reference = next(
        (text for one in named if _REFERENCE.fullmatch(text := str(one.get("reference", "")))), ""
    )
    run = next((text for one in named if _RUN.fullmatch(text := str(one.get("run", "")))), "")
    if not reference and not run:
        raise TraceError(f"{name} names neither an image nor a run: its status is {document.get('status')!r}")
    return Stop(told=tuple(told), reference=reference, run=run)


def _of_headers(name: str, body: bytes) -> Stop:
    """Saved by `curl --dump-header`: of several answers, as after a redirect, the last counts."""
    last = re.split(rb"(?m)^HTTP/[0-9.]+ [^\n]*\n", body)[-1]
    headers = BytesHeaderParser().parsebytes(last.lstrip())
    run = str(headers.get(HEADER_RUN_ID, "")).strip()
    if not _RUN.fullmatch(run):
        raise TraceError(
            f"{name} is no document of runbake and has no header {HEADER_RUN_ID}",
            hint="save the headers with: curl --dump-header FILE …",
        )
    told = [("answer", name), ("run", run)]
    for kind, header in (
        ("image", HEADER_IMAGE),
        ("label file", HEADER_PROVENANCE),
        ("version", HEADER_MODEL_VERSION),
    ):
        if value := str(headers.get(header, "")).strip():
            told.append((kind, value))
    return Stop(told=tuple(told), run=run)
