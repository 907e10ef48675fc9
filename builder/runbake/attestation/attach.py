"""Statements where the image is: as OCI referrers, found through the API or the fallback tag.

The manifest is laid out as cosign lays it out for bundles, so that `cosign verify-attestation` finds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from runbake.attestation.bundle import BUNDLE_TYPE, Sealed, opened_bundle
from runbake.attestation.statement import PAYLOAD_TYPE, Statement, parse_statement
from runbake.errors import AttestationError, RegistryError
from runbake.image import Blob, Descriptor, Digest, canonical_json
from runbake.image.manifest import OCI_MANIFEST
from runbake.registry import ImageRef, Registry, push_referrer, referrers

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_LIMIT_BYTES = 64 << 20
"""A bill of materials is some hundred kB; a registry that sends more than this is not believed."""

_MOST_STATEMENTS = 200
"""Whoever may push can attach any number; this many are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Something that calls itself a statement about `subject`.

    `sealed` is set where it came signed, `statement` where it can be read at all; else `problem` says
    why not.
    """

    subject: Digest
    digest: Digest
    statement: Statement | None
    sealed: Sealed | None
    problem: str


def attach(
    statement: Statement,
    bundle: bytes | None,
    subjects: tuple[Descriptor, ...],
    *,
    repository: ImageRef,
    registry: Registry,
    created: str,
) -> tuple[Digest, ...]:
    """Attach a statement to each of these manifests: as the signed bundle, or as it is where there is none.

    `created` is RFC 3339. The answer is the digests of the referring manifests.

    Raises:
        RegistryError: the registry refuses.
    """
    body = bundle if bundle is not None else statement.to_bytes()
    for data in (body, _EMPTY):
        registry.push_blob(repository.name, Blob.of_bytes(data))
    return tuple(
        push_referrer(
            registry,
            repository.name,
            _manifest(statement, body, bundle is not None, subject, created),
            OCI_MANIFEST,
        )
        for subject in subjects
    )


def _manifest(statement: Statement, body: bytes, signed: bool, subject: Descriptor, created: str) -> bytes:
    media_type = BUNDLE_TYPE if signed else PAYLOAD_TYPE
    kind = (
        {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": statement.predicate_type,
        }
        if signed
        else {"in-toto.io/predicate-type": statement.predicate_type}
    )
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": media_type,
        "config": _descriptor(_EMPTY_TYPE, _EMPTY),
        "layers": [_descriptor(media_type, body)],
        "subject": Descriptor(
            media_type=subject.media_type, digest=subject.digest, size_bytes=subject.size_bytes
        ).to_json(),
        "annotations": {**kind, "org.opencontainers.image.created": created},
    }
    return canonical_json(document)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data)).to_json()


def attached_to(subject: Digest, *, repository: ImageRef, registry: Registry) -> Iterator[Attached]:
    """Everything attached to a manifest that calls itself a statement, in the registry's order.

    Nothing is believed: what cannot be read comes with its problem.

    Raises:
        RegistryError: the registry's list is malformed, or it does not answer.
    """
    found = referrers(registry, repository.name, subject)
    ours = [each for each in found if each.artifact_type in (BUNDLE_TYPE, PAYLOAD_TYPE)]
    for descriptor in ours[:_MOST_STATEMENTS]:
        yield _read(subject, descriptor, repository, registry)


def _read(subject: Digest, descriptor: Descriptor, repository: ImageRef, registry: Registry) -> Attached:
    statement, sealed, problem = None, None, ""
    try:
        body = _content(subject, descriptor, repository, registry)
        if descriptor.artifact_type == BUNDLE_TYPE:
            sealed = opened_bundle(body)
            statement = sealed.statement
        else:
            statement = parse_statement(body)
        _check_subject(statement, subject)
    except (AttestationError, RegistryError) as error:
        statement, sealed, problem = None, None, str(error)
    return Attached(
        subject=subject, digest=descriptor.digest, statement=statement, sealed=sealed, problem=problem
    )


def _content(subject: Digest, descriptor: Descriptor, repository: ImageRef, registry: Registry) -> bytes:
    manifest = registry.fetch_manifest(repository.name, str(descriptor.digest))
    try:
        document = json.loads(manifest.body)
        if document["subject"]["digest"] != subject:
            raise AttestationError(f"its manifest refers to {document['subject']['digest']!r}"[:300])
        (layer,) = document["layers"]
        digest = Digest(layer["digest"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AttestationError(f"its manifest is malformed: {error!r}"[:300]) from error
    return registry.read_blob(repository.name, digest, _LIMIT_BYTES)


def _check_subject(statement: Statement, subject: Digest) -> None:
    if subject not in [each.digest for each in statement.subjects]:
        named = ", ".join(str(each.digest)[:19] for each in statement.subjects[:5]) or "nothing"
        raise AttestationError(f"it is about another image: {named}")
