"""What refers to an image: signatures, attestations, SBOMs; through the API, else the fallback tag.

Source: OCI distribution-spec v1.1, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers
Tag Schema".
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any

from runbake.errors import ManifestNotFound, RegistryError
from runbake.image.blob import Descriptor, Digest
from runbake.image.manifest import OCI_INDEX, OCI_MANIFEST, canonical_json
from runbake.registry.client import Registry

_ROUNDS = 5
_LEFT_OUT = "a malformed entry in the registry's list of referrers is left out: %.200r"
_updating = threading.Lock()
_log = logging.getLogger(__name__)


def fallback_tag(digest: Digest) -> str:
    """The tag under which registries without the API keep the referrers of a digest."""
    return f"sha256-{digest.hex}"


def referrers(
    registry: Registry, name: str, digest: Digest, *, artifact_type: str = ""
) -> tuple[Descriptor, ...]:
    """What refers to a manifest, in the registry's order; `artifact_type` keeps only those.

    Nothing is verified but by the digests in it: whoever may push may say anything. So an entry that is
    malformed is left out, with a line in the log, and hides nothing of the others.

    Raises:
        RegistryError: the registry's list is none.
    """
    pages = registry.fetch_referrers(name, digest)
    found = _entries(pages) if pages is not None else _entries(_fallback(registry, name, digest))
    descriptors = (_descriptor(entry) for entry in found)
    return tuple(each for each in descriptors if each and artifact_type in ("", each.artifact_type))


def push_referrer(registry: Registry, name: str, body: bytes, media_type: str) -> Digest:
    """Push a manifest by digest and make it known as a referrer of its `subject`; twice is once.

    The fallback tag has no protection against two writers on different machines; what was lost is noticed
    and added again.

    Raises:
        RegistryError: the manifest has no subject, or the list could not be kept.
    """
    document = json.loads(body)
    subject = _digest(document.get("subject"))
    digest = registry.push_manifest(name, str(Digest.of(body)), body, media_type)
    # Asked, not read from OCI-Subject: a large registry sends that header without having the API.
    if registry.fetch_referrers(name, subject) is None:
        own = descriptor_of(document, body, media_type)
        with _updating:
            _add(registry, name, subject, own)
    return digest


def descriptor_of(document: dict[str, Any], body: bytes, media_type: str) -> Descriptor:
    """How a list of referrers names a manifest: an image without artifact type goes by its config's."""
    artifact_type = document.get("artifactType") or ""
    if not artifact_type and media_type == OCI_MANIFEST:
        artifact_type = document.get("config", {}).get("mediaType", "")
    return Descriptor(
        media_type=media_type,
        digest=Digest.of(body),
        size_bytes=len(body),
        annotations=tuple(sorted(document.get("annotations", {}).items())),
        artifact_type=artifact_type,
    )


def _add(registry: Registry, name: str, subject: Digest, own: Descriptor) -> None:
    for _ in range(_ROUNDS):
        (existing,) = _fallback(registry, name, subject)
        entries = _entries((existing,))
        if any(entry.get("digest") == own.digest for entry in entries):
            return
        document = json.loads(existing) | {"manifests": [*entries, own.to_json()]}
        registry.push_manifest(name, fallback_tag(subject), canonical_json(document), OCI_INDEX)
    raise RegistryError(
        f"{name}:{fallback_tag(subject)} keeps being overwritten by others", hint="run again, alone"
    )


def _fallback(registry: Registry, name: str, digest: Digest) -> tuple[bytes]:
    try:
        found = registry.fetch_manifest(name, fallback_tag(digest))
    except ManifestNotFound:
        return (canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}),)
    if found.media_type != OCI_INDEX:
        raise RegistryError(
            f"{registry.host}/{name}:{fallback_tag(digest)} is no list of referrers: {found.media_type!r:.80}"
        )
    return (found.body,)


def _entries(pages: Iterable[bytes]) -> list[dict[str, Any]]:
    """The raw entries, each digest once, with whatever other writers put into them."""
    found: dict[str, dict[str, Any]] = {}
    for page in pages:
        try:
            entries = list(json.loads(page)["manifests"] or [])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RegistryError("the registry's list of referrers is malformed") from error
        for entry in entries:
            if isinstance(entry, dict) and "digest" in entry:
                found.setdefault(str(entry["digest"]), entry)
            else:
                _log.warning(_LEFT_OUT, entry)
    return list(found.values())


def _descriptor(entry: dict[str, Any]) -> Descriptor | None:
    """What an entry names; None where it is malformed."""
    try:
        return Descriptor(
            media_type=str(entry["mediaType"]),
            digest=Digest(entry["digest"]),
            size_bytes=int(entry["size"]),
            annotations=tuple(sorted((str(k), str(v)) for k, v in (entry.get("annotations") or {}).items())),
            artifact_type=str(entry.get("artifactType") or ""),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        _log.warning(_LEFT_OUT, entry)
        return None


def _digest(subject: object) -> Digest:
    try:
        return Digest(subject["digest"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError("a referrer needs a manifest with a subject") from error
