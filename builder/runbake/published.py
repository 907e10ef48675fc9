"""An image in a registry, read back: its digests, labels and label file, each checked against the other."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
import zlib
from dataclasses import dataclass
from typing import Any

from runbake.errors import BasePlatformMissing, TraceError
from runbake.image import Digest
from runbake.image.manifest import INDEX_TYPES
from runbake.provenance import parse_label_file
from runbake.registry import ImageRef, Manifest, Registry
from runbake_serving import contract

_SMALL_BYTES = 16 << 20
"""Configs and label files are a few kB; a registry that sends more is not believed."""


_MALFORMED = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError),
    *(EOFError, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zlib.error),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One platform of an image in a registry.

    `root` is the digest that the reference resolves to (of the index, when there is one), `digest` the
    platform's own. `label_file` is parsed from `body`.
    """

    ref: ImageRef
    root: Digest
    digest: Digest
    platform: str
    labels: dict[str, str]
    body: bytes
    label_file: dict[str, Any]


def read_published(ref: ImageRef, registry: Registry, *, platform: str = "") -> Published:
    """Read an image's documents; `platform` chooses in an index, "" takes the first.

    Raises:
        ManifestNotFound: the registry has no such image.
        BasePlatformMissing: the index has no such platform.
        TraceError: the image was not made by runbake, or its label file does not match its label.
    """
    top = registry.fetch_manifest(ref.name, str(ref.digest or ref.tag or "latest"))
    try:
        return _read(ref, top, registry, platform)
    except _MALFORMED as error:
        # Whoever can push there writes these documents; none of them may end in a traceback.
        raise TraceError(f"{ref} is not an image of runbake: {error!r}"[:500]) from error


def _read(ref: ImageRef, top: Manifest, registry: Registry, platform: str) -> Published:
    manifest = _of_platform(ref, top, registry, platform)
    document = json.loads(manifest.body)
    config = json.loads(_small(registry, ref, document["config"]))
    labels: dict[str, str] = config.get("config", {}).get("Labels") or {}
    if contract.LABEL_PROVENANCE_DIGEST not in labels:
        raise TraceError(f"{ref} was not made by runbake: it has no label {contract.LABEL_PROVENANCE_DIGEST}")
    body = _label_file(registry, ref, document["layers"][-1])
    if Digest.of(body) != labels[contract.LABEL_PROVENANCE_DIGEST]:
        raise TraceError(f"the label file of {ref} is not the one that its label names")
    return Published(
        ref=ref,
        root=top.digest,
        digest=manifest.digest,
        platform=f"{config['os']}/{config['architecture']}",
        labels=labels,
        body=body,
        label_file=parse_label_file(body),
    )


def _of_platform(ref: ImageRef, top: Manifest, registry: Registry, platform: str) -> Manifest:
    if top.media_type not in INDEX_TYPES:
        return top
    entries = json.loads(top.body)["manifests"]
    for entry in entries:
        found = f"{entry['platform']['os']}/{entry['platform']['architecture']}"
        if platform in ("", found):
            return registry.fetch_manifest(ref.name, entry["digest"])
    there = ", ".join(f"{e['platform']['os']}/{e['platform']['architecture']}" for e in entries)
    raise BasePlatformMissing(f"{ref} has no {platform}; it has {there}")


def _small(registry: Registry, ref: ImageRef, descriptor: dict[str, Any]) -> bytes:
    return registry.read_blob(ref.name, Digest(descriptor["digest"]), _SMALL_BYTES)


def _label_file(registry: Registry, ref: ImageRef, descriptor: dict[str, Any]) -> bytes:
    name = contract.PROVENANCE_FILE.lstrip("/")
    with tarfile.open(fileobj=io.BytesIO(_small(registry, ref, descriptor))) as archive:
        if name not in archive.getnames() or (member := archive.extractfile(name)) is None:
            raise TraceError(f"the last layer of {ref} holds no {contract.PROVENANCE_FILE}")
        body = member.read(_SMALL_BYTES + 1)
        if len(body) > _SMALL_BYTES:
            raise TraceError(f"the label file of {ref} is larger than {_SMALL_BYTES >> 20} MiB")
        return body
