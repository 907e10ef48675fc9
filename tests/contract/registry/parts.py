"""Small images and impatient clients for the registry's tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runbake.image.blob import Blob, Digest
from runbake.image.manifest import OCI_CONFIG, OCI_MANIFEST
from runbake.registry import CredentialSource, Registry

NOWHERE = Path("/nonexistent/config.json")


class Naps:
    """Stands in for sleep, and remembers how long was asked for."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def opened(
    address: str,
    *,
    config: Path = NOWHERE,
    naps: Naps | None = None,
    clock: Callable[[], float] | None = None,
    insecure: bool | None = None,
) -> Iterator[Registry]:
    """A client that never sleeps, closed at the end."""
    registry = Registry(
        address,
        credentials=CredentialSource(config),
        sleep=naps or Naps(),
        clock=clock or Clock(),
        insecure=insecure,
    )
    try:
        yield registry
    finally:
        registry.close()


def blob_of(data: bytes) -> Blob:
    """These bytes as a blob."""
    return Blob(digest=Digest.of(data), size_bytes=len(data), open=lambda: io.BytesIO(data))


def manifest_of(config: Blob, **more: object) -> bytes:
    """An image manifest without layers; `more` are its other keys."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size_bytes},
        "layers": [],
        **more,
    }
    # Spaces and order that nobody would choose: the bytes must arrive as they are.
    return json.dumps(document, indent=3).encode()


def push_image(registry: Registry, name: str, tag: str = "", **more: object) -> tuple[bytes, Digest]:
    """Push an image without layers; the answer are its manifest and digest."""
    config = blob_of(b"{}")
    registry.push_blob(name, config)
    body = manifest_of(config, **more)
    digest = registry.push_manifest(name, tag or str(Digest.of(body)), body, OCI_MANIFEST)
    return body, digest


def entry_of(body: bytes, **more: object) -> dict[str, object]:
    """How an index names a manifest."""
    return {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(body)), "size": len(body), **more}
