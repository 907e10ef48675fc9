"""What every registry does, the fake like the real one."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runbake.errors import DigestMismatch, ManifestNotFound, RegistryError
from runbake.image.blob import Blob, Descriptor, Digest
from runbake.image.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from runbake.registry import Registry, push_referrer, referrers
from runbake.registry.referrers import fallback_tag
from tests.contract.registry.parts import blob_of, entry_of, manifest_of, push_image

LARGE = bytes(range(256)) * (12 << 10)  # 3 MiB: several chunks


def descriptor_of(blob: Blob) -> Descriptor:
    return Descriptor(media_type="x/y", digest=blob.digest, size_bytes=blob.size_bytes)


@pytest.mark.parametrize("data", [b"", b"a", LARGE], ids=["empty", "small", "large"])
def test_blob_comes_back(registry: Registry, name: str, tmp_path: Path, data: bytes) -> None:
    """What is pushed comes back byte for byte, and progress counts each byte once, both ways."""
    blob, sent, got = blob_of(data), [], []
    assert not registry.has_blob(name, blob.digest)
    assert registry.push_blob(name, blob, progress=sent.append) == "uploaded"
    assert registry.has_blob(name, blob.digest)
    registry.fetch_blob(name, descriptor_of(blob), tmp_path / "deep" / "blob", got.append)
    assert (tmp_path / "deep" / "blob").read_bytes() == data
    assert sum(sent) == sum(got) == len(data)
    assert registry.read_blob(name, blob.digest, len(data)) == data
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["blob"]


def test_blob_is_sent_once(registry: Registry, name: str) -> None:
    """A blob that is there is not sent again."""
    blob = blob_of(b"once")
    assert [registry.push_blob(name, blob) for _ in range(2)] == ["uploaded", "exists"]


def test_blob_is_mounted(registry: Registry, name: str) -> None:
    """A blob of another repository is mounted; where that has none, it is sent."""
    here, nowhere = blob_of(b"mounted"), blob_of(b"not there")
    registry.push_blob(f"{name}/origin", here)
    assert registry.push_blob(name, here, mount_from=f"{name}/origin") == "mounted"
    assert registry.read_blob(name, here.digest, 100) == b"mounted"
    assert registry.push_blob(name, nowhere, mount_from=f"{name}/origin") == "uploaded"


def test_blob_that_lies_is_refused(registry: Registry, name: str) -> None:
    """Bytes under another digest are refused by the registry, and said to be so."""
    lie = Blob(digest=Digest.of(b"other"), size_bytes=3, open=blob_of(b"lie").open)
    with pytest.raises(DigestMismatch, match="DIGEST_INVALID"):
        registry.push_blob(name, lie)
    assert not registry.has_blob(name, lie.digest)


@pytest.mark.parametrize("size", [2, 4], ids=["grew", "shrank"])
def test_file_that_changes_is_noticed(registry: Registry, name: str, size: int) -> None:
    """A file that has another size than when it was hashed fails at once, without waiting for the server."""
    blob = Blob(digest=Digest.of(b"abc"), size_bytes=size, open=blob_of(b"abc").open)
    with pytest.raises(DigestMismatch, match="changed while it was sent"):
        registry.push_blob(name, blob)


def test_large_blob_is_not_read_into_memory(registry: Registry, name: str) -> None:
    """A small read refuses a blob that is larger than expected."""
    blob = blob_of(LARGE)
    registry.push_blob(name, blob)
    with pytest.raises(RegistryError, match="larger than 1000 bytes"):
        registry.read_blob(name, blob.digest, 1000)


def test_missing_things_are_named(registry: Registry, name: str, tmp_path: Path) -> None:
    """What is not there is ManifestNotFound, an absent tag is None, an absent repository has no tags."""
    absent = blob_of(b"absent")
    with pytest.raises(ManifestNotFound, match="404: MANIFEST_UNKNOWN"):
        registry.fetch_manifest(name, "latest")
    with pytest.raises(ManifestNotFound, match="404: BLOB_UNKNOWN"):
        registry.fetch_blob(name, descriptor_of(absent), tmp_path / "blob")
    assert registry.resolve(name, "latest") is None
    assert registry.list_tags(name) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_manifest_is_kept_byte_for_byte(registry: Registry, name: str, media_type: str) -> None:
    """A manifest keeps its bytes, type and digest, by digest and by tag."""
    config = blob_of(b"{}")
    registry.push_blob(name, config)
    body = manifest_of(config, mediaType=media_type)
    digest = registry.push_manifest(name, str(Digest.of(body)), body, media_type)
    suffix = "docker" if media_type == DOCKER_MANIFEST else "oci"
    assert registry.resolve(name, suffix) is None
    registry.push_manifest(name, suffix, body, media_type)
    assert registry.resolve(name, suffix) == digest == Digest.of(body)
    for reference in (str(digest), suffix):
        found = registry.fetch_manifest(name, reference)
        assert (found.body, found.media_type, found.digest) == (body, media_type, digest)


def test_index_is_kept(registry: Registry, name: str) -> None:
    """An index is pushed like a manifest."""
    body, _ = push_image(registry, name)
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry_of(body)]}).encode()
    registry.push_manifest(name, "many", index, OCI_INDEX)
    found = registry.fetch_manifest(name, "many")
    assert (found.body, found.media_type) == (index, OCI_INDEX)


def test_tags_are_sorted(registry: Registry, name: str) -> None:
    """Tags are listed in order, whatever order they came in; a tag moves."""
    for tag in ("b", "a", "c"):
        push_image(registry, name, tag)
    _, second = push_image(registry, name, "a", annotations={"which": "second"})
    assert registry.list_tags(name) == ("a", "b", "c")
    assert registry.resolve(name, "a") == second


def test_same_blob_from_two_threads(registry: Registry, name: str) -> None:
    """Threads that push one blob at the same moment all succeed, and it is whole."""
    blob, gate = blob_of(LARGE), threading.Barrier(4)

    def push(_: int) -> str:
        gate.wait(timeout=10)
        return registry.push_blob(name, blob)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(push, range(4)))
    assert set(done) <= {"uploaded", "exists"}
    assert registry.read_blob(name, blob.digest, len(LARGE)) == LARGE


def test_referrers_are_found(registry: Registry, name: str) -> None:
    """What refers to an image is listed with type and annotations, once, also when it is pushed twice."""
    image, digest = push_image(registry, name, "image")
    assert referrers(registry, name, digest) == ()
    bodies = [
        manifest_of(
            blob_of(b"{}"),
            artifactType=f"application/vnd.example.{kind}",
            subject=entry_of(image),
            annotations={"kind": kind},
        )
        for kind in ("proof", "sbom")
    ]
    for body in (*bodies, bodies[0]):
        assert push_referrer(registry, name, body, OCI_MANIFEST) == Digest.of(body)
    found = {each.digest: each for each in referrers(registry, name, digest)}
    assert len(referrers(registry, name, digest)) == 2
    for kind, body in zip(("proof", "sbom"), bodies, strict=True):
        assert found[Digest.of(body)] == Descriptor(
            media_type=OCI_MANIFEST,
            digest=Digest.of(body),
            size_bytes=len(body),
            annotations=(("kind", kind),),
            artifact_type=f"application/vnd.example.{kind}",
        )
    (proof,) = referrers(registry, name, digest, artifact_type="application/vnd.example.proof")
    assert proof.digest == Digest.of(bodies[0])


def test_referrer_without_artifact_type(registry: Registry, name: str) -> None:
    """An image that refers goes by the type of its config."""
    image, digest = push_image(registry, name, "image")
    push_referrer(registry, name, manifest_of(blob_of(b"{}"), subject=entry_of(image)), OCI_MANIFEST)
    (only,) = referrers(registry, name, digest)
    assert only.artifact_type == "application/vnd.oci.image.config.v1+json"


def test_fallback_tag_is_used_only_without_the_api(registry: Registry, name: str) -> None:
    """The fallback tag appears where the registry has no referrers API, and nowhere else."""
    image, digest = push_image(registry, name, "image")
    push_referrer(registry, name, manifest_of(blob_of(b"{}"), subject=entry_of(image)), OCI_MANIFEST)
    has_api = registry.fetch_referrers(name, digest) is not None
    assert (registry.resolve(name, fallback_tag(digest)) is None) == has_api


def test_referrers_from_two_threads(registry: Registry, name: str) -> None:
    """Referrers pushed at the same moment are all kept."""
    image, digest = push_image(registry, name, "image")

    def push(number: int) -> Digest:
        body = manifest_of(blob_of(b"{}"), subject=entry_of(image), annotations={"n": str(number)})
        return push_referrer(registry, name, body, OCI_MANIFEST)

    with ThreadPoolExecutor(4) as pool:
        pushed = set(pool.map(push, range(8)))
    assert {each.digest for each in referrers(registry, name, digest)} == pushed
