"""Files and labels become layers and an image; nothing here touches a network or an engine."""

from runbake.image.blob import Blob, Descriptor, Digest
from runbake.image.codec import GZIP, STORED, Codec, Packed, pack
from runbake.image.entry import FileEntry
from runbake.image.layer import Layer, layer_of_packed, stored_layer
from runbake.image.layout import archive_written, check_archive, check_layout, engine_archive, layout_written
from runbake.image.manifest import (
    BaseParts,
    Format,
    Image,
    PlatformImage,
    Runtime,
    blobs_of,
    canonical_json,
    compression_of,
    image_of,
    platform_image,
)
from runbake.image.tar import DuplicatePath, open_tar

__all__ = [
    "GZIP",
    "STORED",
    "BaseParts",
    "Blob",
    "Codec",
    "Descriptor",
    "Digest",
    "DuplicatePath",
    "FileEntry",
    "Format",
    "Image",
    "Layer",
    "Packed",
    "PlatformImage",
    "Runtime",
    "archive_written",
    "blobs_of",
    "canonical_json",
    "check_archive",
    "check_layout",
    "compression_of",
    "engine_archive",
    "image_of",
    "layer_of_packed",
    "layout_written",
    "open_tar",
    "pack",
    "platform_image",
    "stored_layer",
]
