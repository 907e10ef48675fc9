"""Manifests and indexes of base images, in OCI's words and in Docker's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runbake.errors import BaseImageError
from runbake.image.blob import Descriptor, Digest
from runbake.image.manifest import MANIFEST_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestParts:
    """A manifest's configuration and layers, lowest layer first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def platforms_of_index(body: bytes, asked: str) -> dict[str, Digest]:
    """The image manifests of an index by platform, in its order; attestations are left out.

    Raises:
        BaseImageError: the document is no index.
    """
    try:
        found: dict[str, Digest] = {}
        for entry in json.loads(body)["manifests"]:
            platform = platform_of(entry.get("platform") or {})
            if entry.get("mediaType") in MANIFEST_TYPES and not platform.startswith("unknown"):
                found.setdefault(platform, Digest(entry["digest"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(asked, "index", error) from error
    return found


def parts_of_manifest(body: bytes, asked: str) -> ManifestParts:
    """The configuration and layers that a manifest names.

    Raises:
        BaseImageError: the document is no image manifest.
    """
    try:
        document = json.loads(body)
        return ManifestParts(
            config=_descriptor(document["config"]),
            layers=tuple(_descriptor(layer) for layer in document["layers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(asked, "manifest", error) from error


def diff_ids_of(config: bytes, asked: str) -> tuple[Digest, ...]:
    """The digests of the uncompressed layers, lowest first.

    Raises:
        BaseImageError: the document is no image configuration.
    """
    try:
        return tuple(Digest(text) for text in json.loads(config)["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(asked, "configuration", error) from error


def platform_of(document: dict[str, Any]) -> str:
    """ "linux/arm64" of {"os": "linux", "architecture": "arm64", "variant": "v8"}; v8 is arm64's only one."""
    parts = [document.get("os", "unknown"), document.get("architecture", "unknown")]
    variant = document.get("variant", "")
    if variant and parts[1] != "arm64":
        parts.append(variant)
    return "/".join(parts)


def listed(platforms: Iterable[str]) -> str:
    """The platforms for a message."""
    return ", ".join(sorted(platforms)) or "none"


def _descriptor(document: dict[str, Any]) -> Descriptor:
    return Descriptor(
        media_type=str(document["mediaType"]),
        digest=Digest(document["digest"]),
        size_bytes=int(document["size"]),
    )


def _unreadable(asked: str, what: str, error: Exception) -> BaseImageError:
    return BaseImageError(
        f"the {what} of the base image {asked} cannot be read: {error!r}"[:500],
        hint="choose another base image (--base)",
    )
