"""The record of a committed part, and the manifest of a whole job. docs/batch.md documents both. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbake_serving.batch.plan import Plan
from runbake_serving.batch.spec import JobSpec
from runbake_serving.contract import BATCH_MANIFEST_SCHEMA, BATCH_RECORD_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """A file of the output; `name` is relative to it."""

    name: str
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in records and manifest."""
        return {"name": self.name, "size_bytes": self.size_bytes, "sha256": self.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A part that is done: rows in = rows out + rejected.

    Attributes:
        data: None where no row was accepted.
        rejects: None where no row was rejected.
        reasons: rejected rows by field and reason.
        started_at, ended_at: seconds since 1970, by the runner's clock; for people only.
    """

    part: str
    rows_in: int
    rows_out: int
    rejected: int
    data: WrittenFile | None
    rejects: WrittenFile | None
    reasons: tuple[tuple[str, int], ...]
    columns: tuple[tuple[str, str], ...]
    started_at: float
    ended_at: float

    def text(self) -> bytes:
        """The bytes of its file."""
        return json.dumps(self.to_json(), ensure_ascii=False, sort_keys=True).encode() + b"\n"

    def to_json(self) -> dict[str, Any]:
        """The document of `_parts/<part>.json`."""
        return {
            "schema": BATCH_RECORD_SCHEMA,
            "part": self.part,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": self.rejected,
            "data": self.data.to_json() if self.data else None,
            "rejects": self.rejects.to_json() if self.rejects else None,
            "reasons": dict(self.reasons),
            "columns": dict(self.columns),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }


def record_of(text: str | bytes) -> Record | None:
    """The record in this text; None where it is none: such a part counts as not done."""
    try:
        document = json.loads(text)
        if document["schema"] != BATCH_RECORD_SCHEMA:
            return None
        record = Record(
            part=str(document["part"]),
            rows_in=int(document["rows_in"]),
            rows_out=int(document["rows_out"]),
            rejected=int(document["rejected"]),
            data=_written(document["data"]),
            rejects=_written(document["rejects"]),
            reasons=tuple(document["reasons"].items()),
            columns=tuple(document["columns"].items()),
            started_at=float(document["started_at"]),
            ended_at=float(document["ended_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return record if record.rows_in == record.rows_out + record.rejected else None


def _written(document: Mapping[str, Any] | None) -> WrittenFile | None:
    if document is None:
        return None
    return WrittenFile(
        name=str(document["name"]), size_bytes=int(document["size_bytes"]), sha256=str(document["sha256"])
    )


def manifest_of(
    spec: JobSpec,
    plan: Plan,
    records: Sequence[Record],
    *,
    provenance: Mapping[str, Any] | None,
    provenance_digest: str,
    versions: Mapping[str, str],
    written_at: float,
) -> dict[str, Any]:
    """The document of `_MANIFEST.json`; the records are those of all parts, in the plan's order."""
    reasons: dict[str, int] = {}
    for record in records:
        for reason, count in record.reasons:
            reasons[reason] = reasons.get(reason, 0) + count
    rejected = sum(record.rejected for record in records)
    return {
        "schema": BATCH_MANIFEST_SCHEMA,
        "state": "complete_with_rejects" if rejected else "complete",
        "job": spec.to_json(),
        "identity": plan.identity,
        "image_digest": plan.identity.get("image", {}).get("digest"),
        "provenance_digest": provenance_digest,
        "provenance": provenance,
        "versions": dict(versions),
        "rows_in": sum(record.rows_in for record in records),
        "rows_out": sum(record.rows_out for record in records),
        "rejected": rejected,
        "reasons": dict(sorted(reasons.items())),
        "columns": dict(next((record.columns for record in records if record.columns), ())),
        "batch_rows": plan.batch_rows,
        "files": [
            {"uri": file.uri, "size_bytes": file.size_bytes, "fingerprint": file.fingerprint}
            for file in plan.files
        ],
        "parts": [record.to_json() for record in records],
        "started_at": min((record.started_at for record in records), default=written_at),
        "ended_at": max((record.ended_at for record in records), default=written_at),
        "computing_s": round(sum(record.ended_at - record.started_at for record in records), 3),
        "written_at": written_at,
    }
