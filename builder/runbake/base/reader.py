"""What the base room needs of a registry client."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from runbake.image.blob import Descriptor, Digest


class FetchedManifest(Protocol):
    """A manifest or an index, byte for byte as the registry keeps it."""

    @property
    def media_type(self) -> str:
        """The type that the registry or the document gives."""

    @property
    def body(self) -> bytes:
        """The exact bytes, whose digest is `digest`."""

    @property
    def digest(self) -> Digest:
        """The digest of `body`."""


class BaseReader(Protocol):
    """Reads images of a registry; every method checks the digest of what it gives."""

    def fetch_manifest(self, name: str, reference: str) -> FetchedManifest:
        """The manifest or index that a tag or digest of the repository `name` refers to."""

    def read_blob(self, name: str, digest: Digest, limit_bytes: int) -> bytes:
        """A small blob's bytes; an error when it is larger than `limit_bytes`."""

    def fetch_blob(self, name: str, descriptor: Descriptor, destination: Path) -> None:
        """Write a blob to a file."""
