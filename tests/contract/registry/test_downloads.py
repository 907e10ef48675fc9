"""What the client does with answers that broke, lie, or point elsewhere: only the fake gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbake.errors import (
    DigestMismatch,
    InvalidReference,
    RegistryAuthError,
    RegistryError,
)
from runbake.image.blob import Blob, Descriptor, Digest
from runbake.image.manifest import OCI_INDEX, OCI_MANIFEST
from runbake.registry import Registry
from tests.contract.registry.fake_registry import (
    Act,
    Handler,
    World,
    answers,
    running_fake,
    truncated,
)
from tests.contract.registry.parts import Naps, blob_of, opened, push_image

LARGE = bytes(range(256)) * (16 << 10)  # 4 MiB: more than the sockets' buffers hold


def kept(blob: Blob) -> Descriptor:
    return Descriptor(media_type="x/y", digest=blob.digest, size_bytes=blob.size_bytes)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def client(fake: str, naps: Naps) -> Iterator[Registry]:
    with opened(fake, naps=naps) as registry:
        yield registry


@pytest.fixture
def stored(world: World) -> Blob:
    """A blob that the fake holds."""
    blob = blob_of(LARGE)
    world.blobs["a/b", blob.digest] = LARGE
    return blob


def test_broken_download_begins_anew(client: Registry, world: World, stored: Blob, tmp_path: Path) -> None:
    """A download that breaks off is repeated, counts no byte twice, and arrives whole."""
    got: list[int] = []
    world.on("GET", "/blobs/", truncated(LARGE, 3 << 20), times=2)
    client.fetch_blob("a/b", kept(stored), tmp_path / "blob", got.append)
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert (sum(got), world.count("GET")) == (len(LARGE), 3)


def test_broken_documents_are_read_again(client: Registry, world: World) -> None:
    """Small blobs and manifests that break off are asked for again."""
    body, digest = push_image(client, "a/b", "tag")
    world.on("GET", "/manifests/", truncated(body, 10))
    world.on("GET", "/blobs/", truncated(b"{}", 1))
    assert client.fetch_manifest("a/b", "tag").digest == digest
    assert client.read_blob("a/b", Digest.of(b"{}"), 10) == b"{}"


@pytest.mark.parametrize("wrong", [b"y" * len(LARGE), LARGE[:-1], LARGE + b"more", b""])
def test_corrupt_blob_is_refused(
    client: Registry, world: World, stored: Blob, tmp_path: Path, wrong: bytes
) -> None:
    """Other bytes than the digest's leave no file, and what was there stays."""
    (tmp_path / "blob").write_text("before")
    world.blobs["a/b", stored.digest] = wrong
    with pytest.raises(DigestMismatch, match=stored.digest):
        client.fetch_blob("a/b", kept(stored), tmp_path / "blob")
    with pytest.raises(DigestMismatch):
        client.read_blob("a/b", stored.digest, 1 << 30)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("blob", "before")]


def test_endless_blob_ends(client: Registry, world: World, tmp_path: Path) -> None:
    """A blob that is longer than its descriptor says is not read to its end."""
    blob = blob_of(b"short")

    def endless(handler: Handler) -> None:
        handler.answer(200, b"", {"Content-Length": str(1 << 40)})
        while True:
            handler.wfile.write(b"x" * (1 << 20))

    world.on("GET", "/blobs/", endless)
    with pytest.raises(DigestMismatch):
        client.fetch_blob("a/b", kept(blob), tmp_path / "blob")
    assert list(tmp_path.iterdir()) == []


def test_corrupt_manifest_is_refused(client: Registry, world: World) -> None:
    """A manifest with another digest than asked for, or than the registry says, is refused."""
    _, digest = push_image(client, "a/b", "tag")
    world.manifests["a/b", digest] = (OCI_MANIFEST, b'{"evil": 1}')
    for reference in (str(digest), "tag"):
        with pytest.raises(DigestMismatch):
            client.fetch_manifest("a/b", reference)


def test_manifest_with_two_types_is_refused(client: Registry, world: World) -> None:
    """A document that calls itself other than its header does is not taken for either."""
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    client.push_manifest("a/b", "tag", body, OCI_MANIFEST)
    with pytest.raises(RegistryError, match="a manifest of the type"):
        client.fetch_manifest("a/b", "tag")


def test_manifest_without_type_says_its_own(client: Registry, world: World) -> None:
    """Where a registry gives no useful type, the document's own counts."""
    body, digest = push_image(client, "a/b", "tag")
    world.manifests["a/b", digest] = ("text/plain; charset=utf-8", body)
    assert client.fetch_manifest("a/b", "tag").media_type == OCI_MANIFEST


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff"])
def test_what_is_not_json_is_refused(client: Registry, world: World, body: bytes) -> None:
    """A page where a manifest or a list of tags should be is an error, not a crash."""
    for pattern in ("/manifests/", "/tags/"):
        world.on("GET", pattern, lambda handler: handler.answer(200, body, {"Content-Type": "text/html"}))
    with pytest.raises(RegistryError, match="JSON"):
        client.fetch_manifest("a/b", "tag")
    with pytest.raises(RegistryError, match="JSON"):
        client.list_tags("a/b")


def test_enormous_manifest_is_refused(client: Registry, world: World) -> None:
    """A manifest that no registry would have taken is not read into memory."""
    world.on("GET", "/manifests/", lambda handler: handler.answer(200, b" " * (9 << 20)))
    with pytest.raises(RegistryError, match="larger than"):
        client.fetch_manifest("a/b", "tag")


@pytest.mark.parametrize("reference", ["../../x", "sha256:short", "sha512:" + "0" * 128, "a/b", "", "a\n"])
def test_reference_stays_in_its_place(client: Registry, world: World, reference: str) -> None:
    """What is neither tag nor digest never becomes part of a path."""
    with pytest.raises(InvalidReference):
        client.fetch_manifest("a/b", reference)
    with pytest.raises(InvalidReference):
        client.push_manifest("a/b", reference, b"{}", OCI_MANIFEST)
    assert world.seen == []


@pytest.mark.parametrize("told", ["", "nonsense", "sha512:00"])
def test_digest_header_is_optional(client: Registry, world: World, told: str) -> None:
    """Without a digest in the header, a tag is resolved by its bytes."""
    _, digest = push_image(client, "a/b", "tag")
    world.on("HEAD", "/manifests/", answers(200, headers={"Docker-Content-Digest": told}))
    assert client.resolve("a/b", "tag") == digest


def test_wrong_digest_of_manifest(client: Registry, world: World) -> None:
    """A registry that stored another manifest is found out."""
    other = str(Digest.of(b"other"))
    world.on("PUT", "/manifests/", answers(201, headers={"Docker-Content-Digest": other}))
    with pytest.raises(DigestMismatch, match=other):
        client.push_manifest("a/b", "tag", b"{}", OCI_MANIFEST)


def test_tags_come_in_pages(client: Registry, world: World) -> None:
    """All pages of a list are read, and a page that leads back to itself ends it."""
    world.page_size = 2
    for tag in "abcde":
        push_image(client, "a/b", tag)
    assert client.list_tags("a/b") == tuple("abcde")
    link = {"Link": '</v2/a/b/tags/list?n=1000>; rel="next"'}
    world.on("GET", "/tags/", answers(200, '{"tags": ["z"]}', link), times=9)
    assert client.list_tags("a/b") == ("z",)


# --- redirects -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[tuple[World, str]]:
    """Another host, such as the object storage behind a registry."""
    world = World()
    with running_fake(world) as address:
        yield world, address


def redirected(address: str) -> Act:
    return lambda handler: handler.answer(
        307, headers={"Location": f"http://{address}{handler.path}?sig=s3cr3t"}
    )


def test_redirected_blob(
    client: Registry, world: World, elsewhere: tuple[World, str], stored: Blob, tmp_path: Path
) -> None:
    """A blob that lies on another host is followed there and verified all the same."""
    storage, address = elsewhere
    world.on("GET", "/blobs/", redirected(address), times=9)
    storage.blobs["a/b", stored.digest] = LARGE
    storage.on("GET", "/blobs/", answers(200, LARGE.decode("latin-1")))
    with pytest.raises(DigestMismatch):
        client.fetch_blob("a/b", kept(stored), tmp_path / "blob")
    storage.rules.clear()
    storage.on("GET", "/blobs/", lambda handler: handler.answer(200, LARGE))
    client.fetch_blob("a/b", kept(stored), tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == LARGE


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"mediaType":"x/y"}'], ids=["page", "list", "two types"]
)
def test_signature_of_a_redirected_manifest_is_not_shown(
    client: Registry, world: World, elsewhere: tuple[World, str], body: bytes
) -> None:
    """A manifest that lies elsewhere and is none is an error that names the place without its secrets."""
    storage, address = elsewhere
    signed = f"http://user:s3cr3t@{address}/m?sig=s3cr3t"
    world.on("GET", "/manifests/", answers(307, headers={"Location": signed}))
    storage.on("GET", "/m", answers(200, body.decode(), {"Content-Type": OCI_MANIFEST}))
    with pytest.raises(RegistryError, match=f"http://{address}/m") as caught:
        client.fetch_manifest("a/b", "latest")
    assert "s3cr3t" not in f"{caught.value} {caught.value.hint}"


def test_refusing_storage_is_not_a_login(
    client: Registry, world: World, elsewhere: tuple[World, str], stored: Blob
) -> None:
    """A 403 of the storage behind a registry is no reason to log in, and its signature is not shown."""
    storage, address = elsewhere
    world.on("GET", "/blobs/", redirected(address))
    storage.on("GET", "/blobs/", answers(403))
    with pytest.raises(RegistryError, match="answered 403") as caught:
        client.read_blob("a/b", stored.digest, 1 << 30)
    assert not isinstance(caught.value, RegistryAuthError)
    assert "s3cr3t" not in str(caught.value)
