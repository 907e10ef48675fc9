"""Tiny images in memory, and a reader that counts what is asked of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbake.errors import ManifestNotFound
from runbake.image.blob import Descriptor, Digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Manifest:
    """What `fetch_manifest` gives."""

    media_type: str
    body: bytes
    digest: Digest


@dataclass
class Reader:
    """A registry of one repository; `asked` counts the calls."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def fetch_manifest(self, name: str, reference: str) -> Manifest:
        """The manifest under a tag or digest."""
        self.asked["manifest"] += 1
        try:
            return self.manifests[reference]
        except KeyError as error:
            raise ManifestNotFound(f"no {reference}") from error

    def read_blob(self, name: str, digest: Digest, limit_bytes: int) -> bytes:
        """A small blob."""
        self.asked["config"] += 1
        return self.blobs[digest]

    def fetch_blob(self, name: str, descriptor: Descriptor, destination: Path) -> None:
        """A layer, into a file."""
        self.asked["layer"] += 1
        destination.write_bytes(self.blobs[descriptor.digest])

    def keep(self, data: bytes) -> dict[str, Any]:
        """Hold a blob; its digest and size as a descriptor spells them."""
        self.blobs[Digest.of(data)] = data
        return {"digest": Digest.of(data), "size": len(data)}

    def put(self, media_type: str, document: dict[str, Any], *tags: str) -> Digest:
        """Hold a manifest under its digest and these tags."""
        body = json.dumps(document).encode()
        manifest = Manifest(media_type, body, Digest.of(body))
        for reference in (manifest.digest, *tags):
            self.manifests[reference] = manifest
        return manifest.digest

    def put_image(
        self,
        layers: Iterable[bytes],
        *tags: str,
        architecture: str = "amd64",
        path: str = "",
        keep_ids: int = 99,
    ) -> Digest:
        """Hold an image of these uncompressed layers; `keep_ids` cuts its diff ids."""
        tars = list(layers)
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Env": [f"PATH={path}"] if path else None},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(t).hexdigest() for t in tars][:keep_ids],
            },
        }
        media = "application/vnd.oci.image.layer.v1.tar+gzip"
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                **self.keep(json.dumps(config).encode()),
            },
            "layers": [{"mediaType": media, **self.keep(gzip.compress(t, 1, mtime=0))} for t in tars],
        }
        return self.put(OCI_MANIFEST, document, *tags)

    def put_index(self, tag: str, images: dict[str, Digest]) -> Digest:
        """Hold an index of these images by platform, and an attestation as BuildKit writes it."""
        entries = [
            {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": _platform(platform)}
            for platform, digest in images.items()
        ]
        entries.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": "sha256:" + "0" * 64,
                "size": 1,
                "platform": {"os": "unknown", "architecture": "unknown"},
            }
        )
        return self.put(OCI_INDEX, {"schemaVersion": 2, "manifests": entries}, tag)


def _platform(text: str) -> dict[str, str]:
    os, architecture, *variant = text.split("/")
    return {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}


Item = tuple[str, bytes | str | None]


def layer(*items: Item | tarfile.TarInfo) -> bytes:
    """A tar of (name, content): bytes, "-> target" (link), "=> target" (hard link), None (directory)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for item in items:
            if isinstance(item, tarfile.TarInfo):
                tar.addfile(item)
                continue
            name, content = item
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type = tarfile.SYMTYPE if content.startswith("->") else tarfile.LNKTYPE
                info.linkname = content[3:]
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def python_layer(version: str = "3.11.2", *, libc: bytes = b"stable release version 2.36.\n") -> bytes:
    """A layer that looks like a Debian with this Python; nothing in it runs."""
    minor = ".".join(version.split(".")[:2])
    return layer(
        ("lib", "-> usr/lib"),
        (f"usr/bin/python{minor}", b"\x7fELF\0x\0" + version.encode() + b"\0"),
        ("usr/bin/python3", f"-> python{minor}"),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", b"\x7fELF GNU C Library (x) " + libc),
        ("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", b"\x7fELF"),
        ("usr/lib64/ld-linux-x86-64.so.2", "-> /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        ("lib64", "-> usr/lib64"),
        ("etc/os-release", b'PRETTY_NAME="x"\nID=debian\nVERSION_ID="12"\n'),
    )
