"""What the client does when a registry misbehaves: only the fake can be made to."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from lab.registry_server import free_port
from runbake.errors import (
    DigestMismatch,
    InvalidReference,
    ManifestNotFound,
    RegistryAuthError,
    RegistryError,
    RegistryUnreachable,
)
from runbake.image.blob import Blob, Descriptor, Digest
from runbake.image.manifest import OCI_INDEX, OCI_MANIFEST
from runbake.registry import Registry, push_referrer, referrers
from runbake.registry.referrers import fallback_tag
from runbake.registry.transport import ATTEMPTS
from tests.contract.registry.fake_registry import (
    Act,
    Handler,
    World,
    answers,
    drops,
    running_fake,
    stores_then_drops,
    truncated,
)
from tests.contract.registry.parts import Naps, blob_of, entry_of, manifest_of, opened, push_image

LARGE = bytes(range(256)) * (16 << 10)  # 4 MiB: more than the sockets' buffers hold
UPLOAD = r"/uploads/\d+"
FULL_28 = '{"errors":[{"code":"UNKNOWN","detail":{"DriverName":"filesystem","Enclosed":{"Err":28}}}]}'
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


def kept(blob: Blob) -> Descriptor:
    return Descriptor(media_type="x/y", digest=blob.digest, size_bytes=blob.size_bytes)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def client(fake: str, naps: Naps) -> Iterator[Registry]:
    with opened(fake, naps=naps) as registry:
        yield registry


# --- uploads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        answers(500),
        answers(503),
        answers(429, headers={"Retry-After": "7"}),
        answers(404, '{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'),
        answers(416),
        drops(0),
        drops(2 << 20),
    ],
    ids=["500", "503", "429", "404", "416", "dropped at once", "dropped in the middle"],
)
def test_upload_begins_anew(client: Registry, world: World, naps: Naps, fault: Act) -> None:
    """An upload that failed in passing gets a new session, after a pause, and counts no byte twice."""
    blob, sent = blob_of(LARGE), []
    world.on("PUT", UPLOAD, fault, times=2)
    assert client.push_blob("a/b", blob, progress=sent.append) == "uploaded"
    assert world.blobs["a/b", blob.digest] == LARGE
    assert (world.sessions, len(naps.taken), sum(sent)) == (3, 2, len(LARGE))
    assert len({s.path for s in world.seen if s.method == "PUT"}) == 3


def test_upload_that_arrived_is_not_sent_again(client: Registry, world: World) -> None:
    """When only the answer was lost, the blob is found and not sent again, and counts as sent."""
    blob, sent = blob_of(LARGE), []
    world.on("PUT", UPLOAD, stores_then_drops)
    assert client.push_blob("a/b", blob, progress=sent.append) == "uploaded"
    assert (world.count("PUT"), sum(sent)) == (1, len(LARGE))


def test_upload_gives_up(client: Registry, world: World, naps: Naps) -> None:
    """A registry that never recovers is left after the last attempt, with its own words."""
    world.on("PUT", UPLOAD, answers(503, '{"errors":[{"code":"SAD","message":"so sad"}]}'), times=99)
    with pytest.raises(RegistryError, match=r"PUT .*/uploads/6 answered 503: SAD so sad"):
        client.push_blob("a/b", blob_of(b"x"))
    assert (world.count("PUT"), len(naps.taken)) == (ATTEMPTS, ATTEMPTS - 1)


@pytest.mark.parametrize(
    "act", [answers(507), answers(500, "write: no space left on device"), answers(500, FULL_28)]
)
@pytest.mark.parametrize("where", ["POST", "PUT"])
def test_full_disk_is_named(client: Registry, world: World, naps: Naps, act: Act, where: str) -> None:
    """A full registry is said to be full, at once: waiting frees no space."""
    world.on(where, "/uploads/", act, times=99)
    with pytest.raises(RegistryError, match="the registry's disk is full") as caught:
        client.push_blob("a/b", blob_of(LARGE))
    assert "free space" in caught.value.hint
    assert naps.taken == []


class Zeros(io.RawIOBase):
    """A file without an end."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def test_length_of_a_huge_blob(client: Registry, world: World) -> None:
    """A blob of 5 GB is announced with its whole length, and a refusal at its beginning ends it at once."""
    lengths: list[str | None] = []

    def look(handler: Handler) -> None:
        lengths.append(handler.headers.get("Content-Length"))
        handler.answer(507)

    world.on("PUT", UPLOAD, look)
    huge = Blob(digest=Digest.of(b"huge"), size_bytes=5 << 30, open=Zeros)
    with pytest.raises(RegistryError, match="disk is full"):
        client.push_blob("a/b", huge)
    assert lengths == [str(5 << 30)]


def test_proxy_limit_is_named(client: Registry, world: World) -> None:
    """A proxy that takes no large bodies is named as the cause."""
    world.on("PUT", UPLOAD, answers(413))
    with pytest.raises(RegistryError) as caught:
        client.push_blob("a/b", blob_of(b"x"))
    assert "client_max_body_size" in caught.value.hint


def test_redirected_upload_is_refused(client: Registry, world: World) -> None:
    """A redirect of a write is an error that names the target, not a GET of something else."""
    world.on("POST", "/uploads/", answers(301, headers={"Location": "http://other.example/v2/?secret=1"}))
    with pytest.raises(RegistryError, match="answered 301") as caught:
        client.push_blob("a/b", blob_of(b"x"))
    assert "http://other.example/v2/" in caught.value.hint
    assert "secret" not in caught.value.hint


@pytest.mark.parametrize("location", [None, "http://[broken"], ids=["none", "malformed"])
def test_bad_upload_address(client: Registry, world: World, location: str | None) -> None:
    """A registry that gives no usable upload address is an error, not a crash."""
    world.on("POST", "/uploads/", answers(202, headers={"Location": location} if location else {}))
    with pytest.raises(RegistryError, match="address"):
        client.push_blob("a/b", blob_of(b"x"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_refused_mount_is_an_upload(client: Registry, world: World, status: int) -> None:
    """Where mounting is not allowed, the blob is sent."""
    world.on("POST", "mount=", answers(status))
    assert client.push_blob("a/b", blob_of(b"x"), mount_from="c/d") == "uploaded"
    assert world.count("POST") == 2


def test_wrong_digest_of_blob(client: Registry, world: World) -> None:
    """A registry that says it keeps other bytes is not believed to keep ours."""
    other = str(Digest.of(b"other"))
    world.on("PUT", UPLOAD, answers(201, headers={"Docker-Content-Digest": other}))
    with pytest.raises(DigestMismatch, match=other):
        client.push_blob("a/b", blob_of(b"x"))


class Broken(io.RawIOBase):
    """A file on a disk that fails after the first bytes."""

    def __init__(self) -> None:
        self._left = 1

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError(5, "Input/output error")
        return b"x" * 100


def missing() -> BinaryIO:
    raise FileNotFoundError(2, "No such file or directory")


@pytest.mark.parametrize("opener", [Broken, missing])
def test_broken_disk_is_not_a_broken_network(client: Registry, world: World, opener: object) -> None:
    """A local file that cannot be read fails at once, and says that it is local."""
    blob = Blob(digest=Digest.of(b"y"), size_bytes=200, open=opener)  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match=r"cannot read what is to be sent: (Input|No such)"):
        client.push_blob("a/b", blob)
    assert world.count("POST") == 1


# --- waiting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "86400"}, 60.0),
    ],
)
def test_registry_says_when(
    client: Registry, world: World, naps: Naps, headers: dict[str, str], expected: float
) -> None:
    """Retry-After is obeyed, up to a minute."""
    world.on("GET", "/tags/", answers(429, headers=headers))
    assert client.list_tags("a/b") == ()
    assert naps.taken == [expected]


@pytest.mark.parametrize("text", ["soon", "²", "-1", "Sun, 99 Nov 2026", "9" * 30])
def test_nonsense_when_is_ignored(client: Registry, world: World, naps: Naps, text: str) -> None:
    """A malformed Retry-After means the usual pause."""
    world.on("GET", "/tags/", lambda handler: _raw(handler, 429, f"Retry-After: {text}"))
    assert client.list_tags("a/b") == ()
    assert 0 <= naps.taken[0] <= 10


def _raw(handler: Handler, status: int, *lines: str) -> None:
    head = "\r\n".join((f"HTTP/1.1 {status} X", *lines, "Content-Length: 0", "", ""))
    handler.wfile.write(head.encode("latin-1", "replace"))


def test_date_counts_from_the_registry_own_clock(client: Registry, world: World, naps: Naps) -> None:
    """A date is read against the registry's own, so a wrong clock here does not matter."""
    later = "Sun, 22 Nov 2026 12:00:09 GMT"
    world.on("GET", "/tags/", lambda handler: _raw(handler, 503, f"Date: {DATE}", f"Retry-After: {later}"))
    assert client.list_tags("a/b") == ()
    assert naps.taken == [9.0]


def test_pauses_are_told(client: Registry, world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each repetition leaves a line that names the request and the reason."""
    world.on("GET", "/tags/", answers(503))
    with caplog.at_level(logging.WARNING, "runbake"):
        client.list_tags("a/b")
    (record,) = caplog.records
    assert "answered 503; attempt 2 of 6 in" in record.getMessage()
    assert "/v2/a/b/tags/list" in record.getMessage()


@pytest.mark.parametrize("status", [400, 403, 418, 501])
def test_lasting_refusal_is_not_repeated(client: Registry, world: World, naps: Naps, status: int) -> None:
    """What will not pass is asked once."""
    world.on("GET", "/manifests/", answers(status, "<html>no</html>"), times=99)
    with pytest.raises(RegistryError, match=f"answered {status}: <html>no</html>"):
        client.fetch_manifest("a/b", "latest")
    assert (world.count("GET"), naps.taken) == (1, [])


# --- no answer at all ------------------------------------------------------------------------------------


def test_nobody_there(naps: Naps) -> None:
    """A closed port is said to be one, after several attempts."""
    with (
        opened(f"127.0.0.1:{free_port()}", naps=naps) as registry,
        pytest.raises(RegistryUnreachable, match="Connection refused") as caught,
    ):
        registry.list_tags("a/b")
    assert "address right" in caught.value.hint
    assert len(naps.taken) == ATTEMPTS - 1


def test_no_such_host(naps: Naps) -> None:
    """A name that does not resolve is an error with the resolver's words."""
    with opened("registry.invalid", naps=naps) as registry, pytest.raises(RegistryUnreachable):
        registry.list_tags("a/b")


def test_plain_http_where_tls_is_expected(fake: str, naps: Naps) -> None:
    """A registry that does not speak TLS is named as such, once."""
    with (
        opened(fake, naps=naps, insecure=False) as registry,
        pytest.raises(RegistryUnreachable, match="does not speak TLS"),
    ):
        registry.list_tags("a/b")
    assert naps.taken == []


def test_missing_ca_bundle_is_named(fake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A REQUESTS_CA_BUNDLE that is not there is named, not a traceback."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    with opened(fake, insecure=False) as registry, pytest.raises(RegistryError) as caught:
        registry.list_tags("a/b")
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


def test_proxy_is_not_used_for_loopback(client: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment does not stand between this machine and itself."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert client.list_tags("a/b") == ()


def test_missing_repository_may_be_a_hang_up(client: Registry, world: World) -> None:
    """Where a registry keeps hanging up during an upload, the hint is that the repository may be missing."""
    world.on("PUT", UPLOAD, drops(100), times=99)
    with pytest.raises(RegistryUnreachable) as caught:
        client.push_blob("a/b", blob_of(LARGE))
    assert "repository does not exist" in caught.value.hint


# --- downloads -------------------------------------------------------------------------------------------


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


# --- referrers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        answers(400),
        answers(404),
        answers(405),
        answers(406),
        answers(200, "<html>", {"Content-Type": "text/html"}),
    ],
    ids=["400", "404", "405", "406", "page"],
)
def test_no_referrers_api(client: Registry, world: World, act: Act) -> None:
    """Whatever a registry answers where the API would be, the fallback tag is used then."""
    world.referrers_api = True
    image, digest = push_image(client, "a/b")
    world.on("GET", "/referrers/", act, times=99)
    body = manifest_of(blob_of(b"{}"), subject=entry_of(image))
    push_referrer(client, "a/b", body, OCI_MANIFEST)
    assert client.resolve("a/b", fallback_tag(digest)) is not None
    assert [each.digest for each in referrers(client, "a/b", digest)] == [Digest.of(body)]


def test_promise_in_a_header_is_not_believed(client: Registry, world: World) -> None:
    """OCI-Subject in the answer to a push does not replace asking for the API."""
    image, digest = push_image(client, "a/b")
    body = manifest_of(blob_of(b"{}"), subject=entry_of(image))
    world.on("PUT", "/manifests/", answers(201, headers={"OCI-Subject": str(digest)}))
    push_referrer(client, "a/b", body, OCI_MANIFEST)
    assert client.resolve("a/b", fallback_tag(digest)) is not None


def test_fallback_tag_keeps_what_others_wrote(client: Registry) -> None:
    """Entries, their unknown keys and the list's own annotations survive an addition."""
    image, digest = push_image(client, "a/b")
    theirs = entry_of(b"theirs", artifactType="x/y", annotations={"a": "b"}, urls=["https://example.org"])
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [theirs], "annotations": {"by": "them"}}
    client.push_manifest("a/b", fallback_tag(digest), json.dumps(index).encode(), OCI_INDEX)
    push_referrer(client, "a/b", manifest_of(blob_of(b"{}"), subject=entry_of(image)), OCI_MANIFEST)
    found = json.loads(client.fetch_manifest("a/b", fallback_tag(digest)).body)
    assert found["manifests"][0] == theirs
    assert len(found["manifests"]) == 2
    assert found["annotations"] == {"by": "them"}


def test_lost_addition_is_repeated(client: Registry, world: World) -> None:
    """When another writer overwrites the list at that moment, ours is added again."""
    image, digest = push_image(client, "a/b")
    world.on("PUT", f"/manifests/{fallback_tag(digest)}", answers(201))
    body = manifest_of(blob_of(b"{}"), subject=entry_of(image))
    push_referrer(client, "a/b", body, OCI_MANIFEST)
    assert [each.digest for each in referrers(client, "a/b", digest)] == [Digest.of(body)]


def test_list_that_is_always_overwritten(client: Registry, world: World) -> None:
    """A list that never keeps our entry is an error in the end."""
    image, digest = push_image(client, "a/b")
    world.on("PUT", f"/manifests/{fallback_tag(digest)}", answers(201), times=99)
    with pytest.raises(RegistryError, match="overwritten"):
        push_referrer(client, "a/b", manifest_of(blob_of(b"{}"), subject=entry_of(image)), OCI_MANIFEST)


def test_referrers_come_in_pages(client: Registry, world: World) -> None:
    """All pages of the API are read, and a digest in two of them is listed once."""
    _, digest = push_image(client, "a/b")
    entries = [entry_of(f"{n}".encode()) for n in range(3)]
    link = f'</v2/a/b/referrers/{digest}?last=1>; rel="next"'
    first, second = (json.dumps({"manifests": part}) for part in (entries[:2], entries[1:]))
    world.on("GET", "/referrers/", answers(200, first, {"Content-Type": OCI_INDEX, "Link": link}))
    world.on("GET", "last=1", answers(200, second, {"Content-Type": OCI_INDEX}))
    assert [each.digest for each in referrers(client, "a/b", digest)] == [e["digest"] for e in entries]


@pytest.mark.parametrize(
    "document",
    [
        '{"manifests": 3}',
        '{"manifests": [{}]}',
        '{"manifests": [{"digest": "x", "mediaType": "y", "size": 1}]}',
        "[]",
    ],
)
def test_malformed_list_is_refused(client: Registry, world: World, document: str) -> None:
    """A malformed list of referrers is an error, not a crash."""
    world.on("GET", "/referrers/", answers(200, document, {"Content-Type": OCI_INDEX}))
    with pytest.raises(RegistryError, match="malformed"):
        referrers(client, "a/b", Digest.of(b""))


def test_fallback_tag_that_is_an_image(client: Registry) -> None:
    """An image under the fallback tag is not overwritten."""
    image, digest = push_image(client, "a/b")
    push_image(client, "a/b", fallback_tag(digest))
    with pytest.raises(RegistryError, match="no list of referrers"):
        push_referrer(client, "a/b", manifest_of(blob_of(b"{}"), subject=entry_of(image)), OCI_MANIFEST)


@pytest.mark.parametrize("more", [{}, {"subject": None}, {"subject": {"digest": "x"}}])
def test_referrer_needs_a_subject(client: Registry, world: World, more: dict[str, object]) -> None:
    """A manifest that refers to nothing is not pushed."""
    with pytest.raises(RegistryError, match="subject"):
        push_referrer(client, "a/b", manifest_of(blob_of(b"{}"), **more), OCI_MANIFEST)
    assert world.seen == []


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


def test_repository_missing_on_upload(client: Registry, world: World) -> None:
    """A registry without the repository says so, and the hint how to make it."""
    world.on("POST", "/uploads/", answers(404, '{"errors":[{"code":"NAME_UNKNOWN"}]}'))
    with pytest.raises(ManifestNotFound, match="NAME_UNKNOWN") as caught:
        client.push_blob("a/b", blob_of(b"x"))
    assert "create-repository" in caught.value.hint
