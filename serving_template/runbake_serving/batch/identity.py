"""What must be the same for a job to be continued: inputs, columns, params, model, form of the output."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from runbake_serving.batch.plan import InputFile
from runbake_serving.batch.spec import JobSpec
from runbake_serving.batch.storage import Found
from runbake_serving.contract import VERSION


def identity_of(
    spec: JobSpec, *, image_digest: str, provenance_digest: str, model_digest: str
) -> dict[str, Any]:
    """What decides rows and bytes of the output; not how many may be rejected, nor who computes them."""
    job = spec.to_json()
    return {
        **makers_of(
            image_digest=image_digest, provenance_digest=provenance_digest, model_digest=model_digest
        ),
        "input": {key: value for key, value in job["input"].items() if key != "uris"},
        "output": {key: value for key, value in job["output"].items() if key != "uri"},
        "params": job["params"],
        "batch_rows": spec.batch_rows,
        "part_rows": spec.part_rows,
    }


def makers_of(*, image_digest: str, provenance_digest: str, model_digest: str) -> dict[str, Any]:
    """What computes the rows: the identity's keys that do not depend on the job."""
    return {
        "image": {"digest": image_digest or None, "provenance": provenance_digest or None},
        "model": model_digest,
        "runtime": VERSION,
    }


def comparable(identity: Mapping[str, Any], files: Iterable[InputFile | Found]) -> dict[str, Any]:
    """The identity with its input files, for `plan.check_same`."""
    told = {file.uri: f"{file.size_bytes} bytes, {file.fingerprint[:12]}" for file in files}
    return {**copy.deepcopy(dict(identity)), "file": told}


def without_unknown_image(begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare the image's digest only where both runs were told it; its label file is always compared."""
    images = begun.get("image", {}), now.get("image", {})
    if not all(image.get("digest") for image in images):
        for image in images:
            image.pop("digest", None)
