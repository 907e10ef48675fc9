"""Does an image say the truth about itself? Every digest, size and diff_id is computed again."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from runbake.image.blob import Blob, chunks_of
from runbake.image.layer import Layer
from runbake.image.manifest import Image, PlatformImage


def contradictions(image: Image) -> list[str]:
    """Everything in which a whole image, when it is read, does not agree with its documents."""
    problems = [problem for platform in image.platforms for problem in _platform_problems(platform)]
    if len(image.platforms) > 1:
        listed = [entry["digest"] for entry in json.loads(image.body)["manifests"]]
        made = [str(platform.descriptor.digest) for platform in image.platforms]
        if listed != made:
            problems.append(f"the index lists {listed}, the manifests are {made}")
    return problems


def _platform_problems(platform: PlatformImage) -> Iterator[str]:
    manifest = json.loads(platform.manifest)
    with platform.config.open() as source:
        config = json.loads(source.read())
    yield from _blob_problems("config", platform.config, manifest["config"])
    if len(manifest["layers"]) != len(platform.layers):
        yield f"{platform.platform}: {len(manifest['layers'])} layers listed, {len(platform.layers)} there"
    for layer, descriptor in zip(platform.layers, manifest["layers"], strict=False):
        yield from _blob_problems(layer.name, layer.blob, descriptor)
        if (found := _diff_id(layer)) != layer.diff_id:
            yield f"{layer.name}: diff_id is {found}, not {layer.diff_id}"
    if config["rootfs"]["diff_ids"] != [str(layer.diff_id) for layer in platform.layers]:
        yield f"{platform.platform}: the config's diff_ids are not the layers'"
    filled = [entry for entry in config["history"] if not entry.get("empty_layer")]
    if len(filled) != len(platform.layers):
        yield f"{platform.platform}: {len(filled)} entries of history for {len(platform.layers)} layers"


def _blob_problems(name: str, blob: Blob, descriptor: dict[str, object]) -> Iterator[str]:
    digest, size = hashlib.sha256(), 0
    with blob.open() as source:
        for chunk in chunks_of(source):
            digest.update(chunk)
            size += len(chunk)
    if f"sha256:{digest.hexdigest()}" != descriptor["digest"]:
        yield f"{name}: digest is sha256:{digest.hexdigest()}, not {descriptor['digest']}"
    if size != descriptor["size"]:
        yield f"{name}: {size} bytes, not {descriptor['size']}"


def _diff_id(layer: Layer) -> str:
    digest = hashlib.sha256()
    with layer.blob.open() as source:
        for chunk in _expanded(source) if layer.compression == "gzip" else chunks_of(source):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _expanded(source: BinaryIO) -> Iterator[bytes]:
    expander = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for chunk in chunks_of(source):
        data = chunk
        while data:
            yield expander.decompress(data)
            data = b""
            if expander.eof:  # the next member of a gzip series
                data = expander.unused_data
                expander = zlib.decompressobj(zlib.MAX_WBITS | 16)
