"""`image.json`: what a release hands to the next stage, also when it failed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from runbake.errors import RunbakeError
from runbake.release import Release
from runbake_serving.contract import VERSION

SCHEMA = "https://runbake.dev/schema/image/v1"


def finished(release: Release) -> dict[str, object]:
    """The document of a release that came to its end."""
    plan, image = release.plan, release.assembled.image
    transfer = release.transfer
    return {
        "schema": SCHEMA,
        "status": "done",
        "tool": {"name": "runbake", "version": VERSION},
        "run": plan.run.run_id,
        "model": plan.run.model_uri,
        "promotion": {
            "how": plan.run.promotion.how,
            "detail": plan.run.promotion.detail,
            "orderedBy": plan.run.promotion.ordered_by,
        },
        "reference": release.reference,
        "digest": str(image.digest),
        "mediaType": image.media_type,
        "tags": list(release.tags),
        "platforms": [
            {
                "platform": platform.platform,
                "digest": str(platform.descriptor.digest),
                "base": str(planned.base.digest),
                "lock": planned.lock.digest,
                "provenance": str(provenance.digest),
                "layers": [
                    {
                        "name": layer.name,
                        "digest": str(layer.blob.digest),
                        "diffId": str(layer.diff_id),
                        "size": layer.blob.size_bytes,
                    }
                    for layer in platform.layers
                ],
            }
            for platform, planned, provenance in zip(
                image.platforms, plan.platforms, release.assembled.provenance, strict=True
            )
        ],
        "proofs": [proof.to_json() for proof in release.proofs],
        "transfer": {"sent": transfer.sent, "sentBytes": transfer.sent_bytes, "kept": transfer.kept}
        if transfer
        else None,
    }


def failed(asked: str, error: RunbakeError) -> dict[str, object]:
    """The document of a release that failed."""
    return {
        "schema": SCHEMA,
        "status": "failed",
        "tool": {"name": "runbake", "version": VERSION},
        "asked": asked,
        "error": {
            "kind": type(error).__name__,
            "exitCode": error.exit_code,
            "problem": str(error),
            "try": error.hint,
        },
    }


def write_report(path: Path, document: dict[str, object]) -> None:
    """Write the document whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
