"""The label file as the runtime carries it: its bytes, and what every answer's headers say of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbake_serving import contract
from runbake_serving.errors import StartError
from runbake_serving.model.model_files import ModelFile, files_of

_HEADER_LIMIT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The label file's bytes, the headers made from them (name, value; none empty), and the model's files.

    `files` is None where the label file names none.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...]
    files: tuple[ModelFile, ...] | None = None


def read_provenance(path: Path) -> Provenance | None:
    """The label file at `path`; None where there is none, as outside an image.

    Raises:
        StartError: the file is there and is not a label file.
    """
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"the label file {path} cannot be read: {error.strerror}") from error
    return provenance_of(body, str(path))


def provenance_of(body: bytes, name: str) -> Provenance:
    """What these bytes say; `name` is for the error message.

    Raises:
        StartError: not a JSON object.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StartError(f"the label file {name} is not JSON") from error
    if not isinstance(document, dict):
        raise StartError(f"the label file {name} is not a JSON object")
    values = (
        (contract.HEADER_RUN_ID, _text(document, "run", "id")),
        (contract.HEADER_MODEL_VERSION, _text(document, "model", "registeredVersion")),
        (contract.HEADER_PROVENANCE, f"sha256:{hashlib.sha256(body).hexdigest()}"),
    )
    headers = tuple((key, value) for key, value in values if value)
    return Provenance(body=body, headers=headers, files=files_of(document))


def headers_of(provenance: Provenance | None, image_digest: str) -> tuple[tuple[str, str], ...]:
    """The headers of every answer: what the label file says, and the image's digest where it is known."""
    headers = provenance.headers if provenance is not None else ()
    return (*headers, (contract.HEADER_IMAGE, image_digest)) if image_digest else headers


def _text(document: dict[str, Any], section: str, key: str) -> str:
    part = document.get(section)
    value = part.get(key) if isinstance(part, dict) else None
    text = str(value) if isinstance(value, (str, int)) else ""
    # Text from MLflow must not end a header line or carry bytes that a proxy refuses.
    return "".join(character for character in text if " " <= character <= "~").strip()[:_HEADER_LIMIT]
