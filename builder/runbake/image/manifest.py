"""Image documents: config, manifest and index, in OCI's words or Docker's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from runbake.errors import InvalidImage
from runbake.image.blob import Blob, Descriptor, Digest
from runbake.image.codec import Compression
from runbake.image.layer import Layer

Format = Literal["oci", "docker"]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)

_LAYER_TYPES: Mapping[Format, Mapping[Compression, str]] = {
    "oci": {
        "none": "application/vnd.oci.image.layer.v1.tar",
        "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
        "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    },
    "docker": {
        "none": "application/vnd.docker.image.rootfs.diff.tar",
        "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    },
}


def canonical_json(document: object) -> bytes:
    """The document's one spelling: sorted keys, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def layer_media_type(image_format: Format, compression: Compression) -> str:
    """What a manifest of this format calls a layer stored this way.

    Raises:
        InvalidImage: Docker's format has no word for it (zstd).
    """
    try:
        return _LAYER_TYPES[image_format][compression]
    except KeyError:
        raise InvalidImage(
            f"the {image_format} format cannot hold a {compression} layer",
            hint="use --format oci, or a base image with gzip layers",
        ) from None


def compression_of(media_type: str) -> Compression:
    """How a layer of this media type is stored, in either format.

    Raises:
        InvalidImage: the media type is not a layer's.
    """
    for by_compression in _LAYER_TYPES.values():
        for compression, known in by_compression.items():
            if media_type == known:
                return compression
    raise InvalidImage(f"not a layer media type: {media_type!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseParts:
    """What an image takes over from its base, as a Docker build would."""

    layers: tuple[Layer, ...]
    history: tuple[str, ...]  # each entry as canonical JSON text
    env: tuple[str, ...]  # NAME=value
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How the container starts."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    user: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """The image of one platform: every byte that a registry needs."""

    platform: str
    layers: tuple[Layer, ...]
    config: Blob
    manifest: bytes
    manifest_type: str

    @property
    def descriptor(self) -> Descriptor:
        """How an index points at this image."""
        system, architecture, *variant = self.platform.split("/")
        pairs = [("architecture", architecture), ("os", system)]
        return Descriptor(
            media_type=self.manifest_type,
            digest=Digest.of(self.manifest),
            size_bytes=len(self.manifest),
            platform=tuple([*pairs, ("variant", variant[0])] if variant else pairs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One platform's image, or an index over several."""

    format: Format
    platforms: tuple[PlatformImage, ...]
    body: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """The digest that a reference to this image carries."""
        return Digest.of(self.body)


def blobs_of(image: Image) -> dict[Digest, tuple[Blob, str]]:
    """Every layer and config once, each with the repository that it came from, "" for what is ours."""
    layers = (layer for platform in image.platforms for layer in platform.layers)
    configs = ((platform.config.digest, (platform.config, "")) for platform in image.platforms)
    return {**{layer.blob.digest: (layer.blob, layer.origin) for layer in layers}, **dict(configs)}


def config_of(
    *,
    platform: str,
    base: BaseParts,
    layers: Sequence[Layer],
    runtime: Runtime,
    labels: Mapping[str, str],
    created: str,
) -> bytes:
    """The image config: base first, ours on top; `created` is RFC 3339.

    Source: OCI image-spec v1.1, config.md.
    """
    system, architecture, *variant = platform.split("/")
    ours = [{"created": created, "created_by": f"runbake: {layer.comment}"} for layer in layers]
    document: dict[str, Any] = {
        "architecture": architecture,
        "os": system,
        "created": created,
        "config": {
            "Cmd": list(runtime.command),
            "Entrypoint": list(runtime.entrypoint),
            "Env": _merged_env(base.env, runtime.env),
            "ExposedPorts": {f"{runtime.port}/tcp": {}},
            "Labels": {**dict(base.labels), **labels},
            "StopSignal": "SIGTERM",
            "User": runtime.user,
            "WorkingDir": "/",
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [str(layer.diff_id) for layer in (*base.layers, *layers)],
        },
        "history": [json.loads(entry) for entry in base.history] + ours,
    }
    if variant:
        document["variant"] = variant[0]
    return canonical_json(document)


def _merged_env(base: Iterable[str], ours: Iterable[tuple[str, str]]) -> list[str]:
    merged = dict(entry.partition("=")[::2] for entry in base)
    merged.update(ours)
    return [f"{name}={value}" for name, value in merged.items()]


def platform_image(
    *,
    image_format: Format,
    platform: str,
    base: BaseParts,
    layers: Sequence[Layer],
    runtime: Runtime,
    labels: Mapping[str, str],
    created: str,
) -> PlatformImage:
    """The image of one platform.

    Docker's format has no annotations, so the labels in the config carry the same keys.

    Raises:
        InvalidImage: the format cannot hold one of the layers.
    """
    config = config_of(
        platform=platform, base=base, layers=layers, runtime=runtime, labels=labels, created=created
    )
    everything = (*base.layers, *layers)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST if image_format == "oci" else DOCKER_MANIFEST,
        "config": _descriptor(OCI_CONFIG if image_format == "oci" else DOCKER_CONFIG, _blob_of(config)),
        "layers": [
            _descriptor(layer_media_type(image_format, layer.compression), layer.blob) for layer in everything
        ],
    }
    if image_format == "oci":
        document["annotations"] = dict(labels)
    return PlatformImage(
        platform=platform,
        layers=everything,
        config=_blob_of(config),
        manifest=canonical_json(document),
        manifest_type=document["mediaType"],
    )


def image_of(
    platforms: Sequence[PlatformImage], *, image_format: Format, annotations: Mapping[str, str]
) -> Image:
    """One platform's manifest as it is; an index only over several (Lambda and SageMaker refuse indexes)."""
    if len(platforms) == 1:
        only = platforms[0]
        return Image(
            format=image_format, platforms=(only,), body=only.manifest, media_type=only.manifest_type
        )
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX if image_format == "oci" else DOCKER_LIST,
        "manifests": [platform.descriptor.to_json() for platform in platforms],
    }
    if image_format == "oci":
        document["annotations"] = dict(annotations)
    return Image(
        format=image_format,
        platforms=tuple(platforms),
        body=canonical_json(document),
        media_type=document["mediaType"],
    )


def _blob_of(data: bytes) -> Blob:
    return Blob(digest=Digest.of(data), size_bytes=len(data), open=lambda: BytesIO(data))


def _descriptor(media_type: str, blob: Blob) -> dict[str, object]:
    return Descriptor(media_type=media_type, digest=blob.digest, size_bytes=blob.size_bytes).to_json()
