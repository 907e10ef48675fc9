"""What is recorded of how an image was built: its documents, label files, and the statement that says it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbake.attestation.statement import SLSA_PROVENANCE
from runbake.errors import VerificationFailed
from runbake.image import Descriptor, Digest
from runbake.image.manifest import INDEX_TYPES
from runbake.published import read_published
from runbake.registry import ImageRef, Manifest, Registry
from runbake.verify.policy import Policy
from runbake.verify.said import Said, statements_about

_CONFIG_BYTES = 16 << 20
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPlatform:
    """One platform of an image in a registry; `config` and `label_file` are parsed, layers in their order."""

    platform: str
    digest: Digest
    config: Mapping[str, Any]
    label_file: Mapping[str, Any]
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An image and how it was built: `parameters` are the SLSA provenance's external ones.

    `key` is the id of the trusted key that signed them, "" where anybody may have written them.
    """

    ref: ImageRef
    digest: Digest
    platforms: tuple[RecordedPlatform, ...]
    parameters: Mapping[str, Any]
    key: str


def read_record(ref: ImageRef, registry: Registry, policy: Policy) -> Record:
    """Read how an image was built; of several statements, one that a trusted key signed.

    Raises:
        ManifestNotFound: the registry has no such image.
        VerificationFailed: nothing says how it was built, or it cannot be read.
        RegistryError: the registry breaks.
        TraceError: the image was not made by runbake.
    """
    top = registry.fetch_manifest(ref.name, str(ref.digest or ref.tag or "latest"))
    fixed = replace(ref, tag="", digest=top.digest)
    try:
        platforms = tuple(_platform(fixed, each, registry) for each in manifests_of(fixed, top, registry))
        said, _ = statements_about((top.digest,), fixed, registry, policy)
        built = _provenance(said)
        parameters = dict(built.statement.predicate["buildDefinition"]["externalParameters"])
    except _MALFORMED as error:
        # Whoever can push there writes these documents.
        raise VerificationFailed(f"{ref} does not say how it was built: {error!r}"[:500]) from error
    return Record(
        ref=fixed,
        digest=top.digest,
        platforms=platforms,
        parameters=parameters,
        key=built.key.id if built.key else "",
    )


def _provenance(said: tuple[Said, ...]) -> Said:
    found = [one for one in said if one.statement.predicate_type == SLSA_PROVENANCE]
    found.sort(key=lambda one: one.key is None)
    if not found:
        raise ValueError("no SLSA provenance is attached to it")
    return found[0]


def manifests_of(ref: ImageRef, top: Manifest, registry: Registry) -> Iterator[Manifest]:
    """The manifest of each platform: those of an index, or the image's own."""
    if top.media_type not in INDEX_TYPES:
        yield top
        return
    for entry in json.loads(top.body)["manifests"]:
        yield registry.fetch_manifest(ref.name, str(Digest(entry["digest"])))


def _platform(ref: ImageRef, manifest: Manifest, registry: Registry) -> RecordedPlatform:
    document = json.loads(manifest.body)
    config = json.loads(registry.read_blob(ref.name, Digest(document["config"]["digest"]), _CONFIG_BYTES))
    published = read_published(replace(ref, digest=manifest.digest), registry)
    return RecordedPlatform(
        platform=published.platform,
        digest=manifest.digest,
        config=config,
        label_file=published.label_file,
        layers=layers_of(document),
    )


def layers_of(manifest: Mapping[str, Any]) -> tuple[Descriptor, ...]:
    """The layers that a manifest lists, in its order."""
    return tuple(
        Descriptor(media_type=each["mediaType"], digest=Digest(each["digest"]), size_bytes=int(each["size"]))
        for each in manifest["layers"]
    )
