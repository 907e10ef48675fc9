"""An in-toto statement: something said about some digests.

Source: in-toto Attestation Framework, spec/v1/statement.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runbake.errors import AttestationError
from runbake.image import Digest, canonical_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"
CYCLONEDX = "https://cyclonedx.org/bom"
"""The predicate type that in-toto registers for CycloneDX, and cosign's `--type cyclonedx`."""

EVALUATION = "https://runbake.dev/attestation/evaluation/v1"
"""What `evaluate --attach` says: evaluation.json, and `evaluatedAt`."""

_MOST_SUBJECTS = 1024
"""cosign refuses a statement of more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a statement is about: a name for people, and the digest that counts."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A predicate of some type about some subjects; `predicate_json` is canonical JSON text."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate_json: str

    @classmethod
    def of(cls, subjects: tuple[Subject, ...], predicate_type: str, predicate: object) -> Statement:
        """The statement of a predicate that is still a document."""
        return cls(
            subjects=subjects,
            predicate_type=predicate_type,
            predicate_json=canonical_json(predicate).decode(),
        )

    @property
    def predicate(self) -> Any:
        """The predicate, parsed anew each time."""
        return json.loads(self.predicate_json)

    def to_bytes(self) -> bytes:
        """The statement's one spelling; `parse_statement(s.to_bytes()) == s`."""
        document = {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": subject.name, "digest": {"sha256": subject.digest.hex}} for subject in self.subjects
            ],
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        }
        return canonical_json(document)


def parse_statement(payload: bytes) -> Statement:
    """The statement that these bytes are; anybody may have written them.

    Subjects without a sha256 are left out: no image of ours is known by another digest.

    Raises:
        AttestationError: they are no in-toto statement v1.
    """
    try:
        document: dict[str, Any] = json.loads(payload)
        if document["_type"] != STATEMENT_TYPE:
            raise AttestationError(f"its type is {document['_type']!r}, not {STATEMENT_TYPE!r}"[:300])
        subjects = document["subject"]
        if len(subjects) > _MOST_SUBJECTS:
            raise AttestationError(f"it has {len(subjects)} subjects, {_MOST_SUBJECTS} are allowed")
        return Statement.of(
            tuple(
                Subject(name=str(each.get("name", "")), digest=Digest("sha256:" + each["digest"]["sha256"]))
                for each in subjects
                if "sha256" in each["digest"]
            ),
            str(document["predicateType"]),
            document["predicate"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AttestationError(f"it is no in-toto statement: {error!r}"[:300]) from error
