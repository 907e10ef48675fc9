"""An image as files: an OCI layout directory, or one tar that `docker load` and `skopeo` both read.

The tar is the same layout with Docker's `manifest.json` beside it, as Docker 25's own `docker save` writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from runbake.image.blob import Blob, Descriptor, chunks_of
from runbake.image.entry import FileEntry
from runbake.image.manifest import OCI_INDEX, Image, canonical_json
from runbake.image.tar import segments_of


def _blobs_of(image: Image) -> Iterator[Blob]:
    seen = set()
    for platform in image.platforms:
        manifest = platform.descriptor
        body = platform.manifest
        for blob in (
            *(layer.blob for layer in platform.layers),
            platform.config,
            Blob(digest=manifest.digest, size_bytes=len(body), open=lambda body=body: BytesIO(body)),  # type: ignore[misc]
        ):
            if blob.digest not in seen:
                seen.add(blob.digest)
                yield blob
    if image.digest not in seen:
        yield Blob(digest=image.digest, size_bytes=len(image.body), open=lambda: BytesIO(image.body))


def _small_files(image: Image, name: str) -> dict[str, bytes]:
    root = Descriptor(
        media_type=image.media_type,
        digest=image.digest,
        size_bytes=len(image.body),
        annotations=(("org.opencontainers.image.ref.name", name),) if name else (),
    )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [root.to_json()]}
    return {
        "oci-layout": canonical_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": canonical_json(index),
    }


def write_layout(image: Image, directory: Path, *, name: str) -> None:
    """Write an OCI image layout; `index.json` comes last, so a broken write is not a layout.

    Blobs that the directory already holds are kept.

    Source: OCI image-spec v1.1, image-layout.md.
    """
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for blob in _blobs_of(image):
        target = blobs / blob.digest.hex
        if not target.exists():
            _write(target, blob)
    for file_name, data in _small_files(image, name).items():
        _write(
            directory / file_name,
            Blob(digest=image.digest, size_bytes=len(data), open=lambda data=data: BytesIO(data)),  # type: ignore[misc]
        )


def _write(target: Path, blob: Blob) -> None:
    with blob.open() as source:
        _write_chunks(target, chunks_of(source))


def _write_chunks(target: Path, chunks: Iterable[bytes]) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with partial.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_archive(image: Image, target: Path, *, name: str) -> None:
    """Write one tar that `docker load` reads; `name` is the HOST/NAME:TAG it loads as.

    Docker's loader takes a single platform: the first one. The OCI index in it names all of them.
    """
    _write_chunks(target, _archive_segments(image, name))


def _archive_segments(image: Image, name: str) -> Iterator[bytes]:
    first = image.platforms[0]
    manifest = [
        {
            "Config": f"blobs/sha256/{first.config.digest.hex}",
            "RepoTags": [name] if name else [],
            "Layers": [f"blobs/sha256/{layer.blob.digest.hex}" for layer in first.layers],
        }
    ]
    sources = {f"blobs/sha256/{blob.digest.hex}": blob for blob in _blobs_of(image)}
    small = {**_small_files(image, name), "manifest.json": canonical_json(manifest)}
    entries = [FileEntry.of_bytes(path, data) for path, data in small.items()]
    # A marker path stands where a blob's bytes go: blobs may be streams, which an entry cannot hold.
    entries += [
        FileEntry(path=path, content=Path(path), size_bytes=blob.size_bytes) for path, blob in sources.items()
    ]
    for segment in segments_of(entries):
        if isinstance(segment, bytes):
            yield segment
        else:
            with sources[segment.as_posix()].open() as source:
                yield from chunks_of(source)
