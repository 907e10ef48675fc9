"""The lock: every wheel of an environment by name, version, file name and sha256; no URLs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = "https://runbake.dev/schema/lock/v1"

_FORMS = {
    "name": re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*"),
    "version": re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]*"),
    "file_name": re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]*\.whl"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
}
"""What each field of a wheel may be: these words go into a file of requirements, where others are options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One wheel: normalised name, version, file name, 64 hex digits, size (0 where the index gave none)."""

    name: str
    version: str
    file_name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Every wheel that goes into one platform's image.

    `key` is the write-once key under which it is stored on the run. `model_as_of` and `runtime_as_of` are
    RFC 3339 cut-offs; either is "" when the index has no upload times and that pass is undated.
    """

    key: str
    platform: str  # "linux/amd64"
    python: str  # "3.11"
    uv_platform: str  # what uv was asked for, e.g. "x86_64-manylinux_2_36"
    model_requirements: tuple[str, ...]
    runtime_requirements: tuple[str, ...]
    model_as_of: str
    runtime_as_of: str
    wheels: tuple[LockedWheel, ...]  # sorted by name

    def to_json(self) -> str:
        """Canonical JSON: equal locks give equal text; `Lock.from_json(l.to_json()) == l`."""
        document = {
            "schema": SCHEMA,
            "key": self.key,
            "platform": self.platform,
            "python": self.python,
            "uvPlatform": self.uv_platform,
            "modelRequirements": list(self.model_requirements),
            "runtimeRequirements": list(self.runtime_requirements),
            "modelAsOf": self.model_as_of,
            "runtimeAsOf": self.runtime_as_of,
            "wheels": [
                {
                    "name": w.name,
                    "version": w.version,
                    "fileName": w.file_name,
                    "sha256": w.sha256,
                    "size": w.size_bytes,
                }
                for w in self.wheels
            ],
        }
        return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Lock:
        """The lock that this text is; whoever may write to the run or the registry may have written it.

        Raises:
            ValueError: the text is not a lock of this schema; the message says why.
        """
        try:
            return cls.from_document(json.loads(text))
        except RecursionError as error:
            raise ValueError(f"not a lock: {error!r}"[:500]) from error

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Lock:
        """The lock that this document is, as `from_json` of its text.

        Raises:
            ValueError: it is not a lock of this schema; the message says why.
        """
        try:
            if document.get("schema") != SCHEMA:
                raise ValueError(f"schema is {document.get('schema')!r}, not {SCHEMA!r}")
            return cls(
                key=document["key"],
                platform=document["platform"],
                python=document["python"],
                uv_platform=document["uvPlatform"],
                model_requirements=tuple(document["modelRequirements"]),
                runtime_requirements=tuple(document["runtimeRequirements"]),
                model_as_of=document["modelAsOf"],
                runtime_as_of=document["runtimeAsOf"],
                wheels=tuple(_wheel(each) for each in document["wheels"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a lock: {error!r}"[:500]) from error

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the canonical JSON."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()


def _wheel(document: dict[str, Any]) -> LockedWheel:
    fields = {
        "name": document["name"],
        "version": document["version"],
        "file_name": document["fileName"],
        "sha256": document["sha256"],
    }
    for name, form in _FORMS.items():
        if not form.fullmatch(fields[name]):
            raise ValueError(f"{name} of a wheel is {fields[name]!r}"[:200])
    return LockedWheel(**fields, size_bytes=int(document["size"]))
