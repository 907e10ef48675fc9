"""Referrers where the API is missing, halting or lying, and where others write the same list."""

from __future__ import annotations

import json

import pytest

from runbake.errors import (
    RegistryError,
)
from runbake.image.blob import Digest
from runbake.image.manifest import OCI_INDEX, OCI_MANIFEST
from runbake.registry import Registry, push_referrer, referrers
from runbake.registry.referrers import fallback_tag
from tests.contract.registry.fake_registry import (
    Act,
    World,
    answers,
)
from tests.contract.registry.parts import blob_of, entry_of, manifest_of, push_image


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
        "[]",
    ],
)
def test_malformed_list_is_refused(client: Registry, world: World, document: str) -> None:
    """A malformed list of referrers is an error, not a crash."""
    world.on("GET", "/referrers/", answers(200, document, {"Content-Type": OCI_INDEX}))
    with pytest.raises(RegistryError, match="malformed"):
        referrers(client, "a/b", Digest.of(b""))


@pytest.mark.parametrize(
    "malformed",
    ["{}", "3", '{"digest": "x", "mediaType": "y", "size": 1}', '{"digest": "sha256:0", "size": Infinity}'],
)
def test_a_malformed_entry_hides_no_other(
    client: Registry, world: World, malformed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may push may add one, and would else stop every verification; it is noted."""
    entry = {"digest": str(Digest.of(b"")), "mediaType": OCI_MANIFEST, "size": 1}
    document = f'{{"manifests": [{malformed}, {json.dumps(entry)}]}}'
    world.on("GET", "/referrers/", answers(200, document, {"Content-Type": OCI_INDEX}))

    assert [each.digest for each in referrers(client, "a/b", Digest.of(b""))] == [Digest.of(b"")]
    assert "left out" in caplog.text


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
