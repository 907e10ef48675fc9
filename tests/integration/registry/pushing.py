"""Pushes a file as an image in a process of its own: python -m …pushing ADDRESS FILE [stall]."""

from __future__ import annotations

import hashlib
import resource
import sys
from pathlib import Path

from runbake.image.blob import Blob, Descriptor, Digest
from runbake.image.manifest import OCI_MANIFEST
from runbake.registry import CredentialSource, Registry
from tests.contract.registry.parts import blob_of, manifest_of

NAME = "pushing/model"
STALL_AT = 8 << 20


def file_blob(path: Path) -> Blob:
    """A file as a blob."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Blob(
        digest=Digest("sha256:" + digest), size_bytes=path.stat().st_size, open=lambda: path.open("rb")
    )


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    """Push, fetch again, and print by how many bytes the peak memory grew."""
    address, path, *stall = sys.argv[1:]
    registry = Registry(address, credentials=CredentialSource(Path("/nonexistent")))
    blob, done = file_blob(Path(path)), 0

    def progress(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        if stall and done >= STALL_AT:
            print("half", flush=True)
            sys.stdin.read()

    registry.has_blob(NAME, blob.digest)
    before = peak_bytes()
    how = registry.push_blob(NAME, blob, progress=progress)
    registry.push_blob(NAME, blob_of(b"{}"))
    registry.push_manifest(NAME, "tag", manifest_of(blob_of(b"{}")), OCI_MANIFEST)
    descriptor = Descriptor(media_type="x/y", digest=blob.digest, size_bytes=blob.size_bytes)
    registry.fetch_blob(NAME, descriptor, Path(path + ".back"))
    print(how, peak_bytes() - before)


if __name__ == "__main__":
    main()
