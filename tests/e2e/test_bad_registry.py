"""A registry that is down, refuses, is full, or fails now and then, while an image is pushed to it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from lab.registry_server import running_registry
from runbake.errors import (
    DigestMismatch,
    ManifestNotFound,
    RegistryAuthError,
    RegistryError,
    RegistryUnreachable,
    RunbakeError,
    TagExists,
)
from tests.contract.registry.fake_registry import Act, Handler, Tokens, answers, drops, running_fake
from tests.contract.registry.fake_registry import World as Fake
from tests.e2e.disks import disk_of, grow
from tests.e2e.refusal import QUICKLY, cases, refused, went_well
from tests.e2e.world import World

LARGE_BYTES = 1_000_000
"""The base and the wheels; what is smaller is the model, the runtime and what describes them."""

STATEMENTS = 4
"""Blobs attached to a proven image: provenance, release, bill of materials, and their empty config."""

BEGIN, SEND, ASK = ("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("HEAD", "/blobs/sha256:")
BY_DIGEST, TAG, TAG_ASKED = (
    ("PUT", "/manifests/sha256:"),
    ("PUT", "/manifests/run-"),
    ("HEAD", "/manifests/run-"),
)
AT_ONCE = {"Retry-After": "0"}
DENIED = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
NO_BLOB = '{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'


def tags_of(fake: Fake) -> dict[tuple[str, str], str]:
    """The tags that somebody set; a registry without the referrers API keeps referrers under others."""
    return {key: digest for key, digest in fake.tags.items() if not key[1].startswith("sha256-")}


def other_digest(handler: Handler) -> None:
    """Take a manifest, and say that it is another one."""
    handler.take(handler.unread)
    handler.answer(201, headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"})


def locks_out(handler: Handler) -> None:
    """Take the account's password away, and every token."""
    tokens = handler.world.tokens
    assert tokens is not None
    tokens.basic = ("me", "another")
    tokens.issued.clear()
    handler.take(handler.unread)
    handler.challenge()


CASES: dict[str, tuple[tuple[str, str], Act, type[RunbakeError], tuple[str, ...]]] = {
    "upload denied": (BEGIN, answers(403, DENIED), RegistryAuthError, ("403: DENIED", "docker login")),
    "unauthorized": (BEGIN, answers(401), RegistryAuthError, ("401", "docker login")),
    "reading denied": (ASK, answers(403), RegistryAuthError, ("HEAD", "403", "docker login")),
    "no such project": (BEGIN, answers(404), ManifestNotFound, ("404", "created first")),
    "full, 507": (SEND, answers(507), RegistryError, ("507", "disk is full", "free space")),
    "full, 500": (
        SEND,
        answers(500, "no space left on device"),
        RegistryError,
        ("disk is full", "free space"),
    ),
    "too large": (SEND, answers(413), RegistryError, ("413", "client_max_body_size")),
    "429 for good": (BEGIN, answers(429, "slow down", AT_ONCE), RegistryError, ("429", "slow down")),
    "503 for good": (SEND, answers(503, "", AT_ONCE), RegistryError, ("503", "run again")),
    "500 at the manifest": (BY_DIGEST, answers(500, "", AT_ONCE), RegistryError, ("500", "run again")),
    "a blob is gone": (BY_DIGEST, answers(400, NO_BLOB), RegistryError, ("MANIFEST_BLOB_UNKNOWN",)),
    "other bytes": (BY_DIGEST, other_digest, DigestMismatch, (f"sha256:{'0' * 64}",)),
    "tag immutable": (TAG, answers(409, "immutable"), RegistryError, ("409", "immutable")),
    "tag denied": (TAG, answers(403, DENIED), RegistryAuthError, ("403", "docker login")),
    "tag 500": (TAG, answers(500, "", AT_ONCE), RegistryError, ("500", "/manifests/run-")),
    "asking for the tag": (TAG_ASKED, answers(500, "", AT_ONCE), RegistryError, ("500", "/manifests/run-")),
}
"""The request that goes wrong, how, the error, and words that it must hold."""


@pytest.fixture(scope="module")
def filled(world: World, wine_run: str) -> dict[tuple[str, str], bytes]:
    """The large blobs of the image, as a registry that was pushed to before keeps them."""
    fake = Fake()
    with running_fake(fake) as address:
        went_well(world, f"{address}/wine", wine_run)
    return {key: data for key, data in fake.blobs.items() if len(data) >= LARGE_BYTES}


def assert_whole(fake: Fake) -> None:
    """Every tag leads to a manifest all of whose blobs are there."""
    for (name, _tag), digest in tags_of(fake).items():
        manifest = json.loads(fake.manifests[name, digest][1])
        for descriptor in (manifest["config"], *manifest["layers"]):
            assert (name, descriptor["digest"]) in fake.blobs


SLOW = {
    "unauthorized",
    "no such project",
    "too large",
    "500 at the manifest",
    "tag 500",
    "tag immutable",
    "asking for the tag",
}


@pytest.mark.parametrize("case", cases(CASES, slow=SLOW))
def test_a_registry_that_refuses_gets_no_tag(
    world: World, wine_run: str, filled: dict[tuple[str, str], bytes], case: str
) -> None:
    """Whichever request fails, there is an error with method, address and status, and no tag."""
    (method, pattern), act, error, says = CASES[case]
    fake = Fake(blobs=dict(filled))
    fake.on(method, pattern, act, times=99)
    with running_fake(fake) as address:
        refused(world, error, wine_run, "--repository", f"{address}/wine", *QUICKLY, says=(address, *says))
        assert tags_of(fake) == {}
        assert fake.count(method, pattern) < 60, "it gives up"


def test_the_next_run_sends_only_what_is_missing(
    world: World, wine_run: str, filled: dict[tuple[str, str], bytes]
) -> None:
    """The registry broke at the manifest: nothing that was sent is sent again, and then the tag is there."""
    fake = Fake(blobs=dict(filled))
    fake.on(*BY_DIGEST, answers(500, "", AT_ONCE), times=6)
    with running_fake(fake) as address:
        refused(world, RegistryError, wine_run, "--repository", f"{address}/wine", *QUICKLY)
        sent = fake.count(*SEND)
        digest = went_well(world, f"{address}/wine", wine_run)

    assert sent > 0
    assert fake.count(*SEND) == sent + STATEMENTS
    assert tags_of(fake) == {("wine", f"run-{wine_run[:12]}"): digest}
    assert_whole(fake)


def test_what_passes_is_waited_for(
    world: World, wine_run: str, filled: dict[tuple[str, str], bytes], tmp_path: Path
) -> None:
    """Too many requests, broken connections, 5xx and tokens that expire on the way delay a push only."""
    fake = Fake(blobs=dict(filled), tokens=Tokens(basic=("me", "hunter2"), uses=3))
    temporary = (
        (BEGIN, answers(429, "", {"Retry-After": "1"})),
        (SEND, drops(1_000)),
        (SEND, answers(500)),
        (ASK, answers(503)),
        (BY_DIGEST, answers(502)),
        (TAG, answers(504)),
    )
    for (method, pattern), act in temporary:
        fake.on(method, pattern, act)
    with running_fake(fake) as address:
        login = base64.b64encode(b"me:hunter2").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": login}}}))
        digest = went_well(world, f"{address}/wine", wine_run, env={"DOCKER_CONFIG": str(tmp_path)})

    assert [rule.times for rule in fake.rules] == [0] * len(temporary), "every failure was met"
    assert fake.tokens is not None
    assert len(fake.tokens.issued) > 4, "tokens expired on the way"
    assert tags_of(fake) == {("wine", f"run-{wine_run[:12]}"): digest}
    assert_whole(fake)


def test_a_login_that_ends_in_the_middle_of_a_push(
    world: World, wine_run: str, filled: dict[tuple[str, str], bytes], tmp_path: Path
) -> None:
    """The token expires and no new one is given: `docker login`, no tag, and no password anywhere."""
    fake = Fake(blobs=dict(filled), tokens=Tokens(basic=("me", "hunter2"), uses=3))
    fake.on(*BY_DIGEST, locks_out, times=99)
    with running_fake(fake) as address:
        login = base64.b64encode(b"me:hunter2").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": login}}}))
        said = refused(
            world, RegistryAuthError, wine_run, "--repository", f"{address}/wine", *QUICKLY,
            env={"DOCKER_CONFIG": str(tmp_path)}, says=(f"docker login {address}",),
        )  # fmt: skip

    assert fake.count(*SEND) > 0, "it was in the middle"
    assert tags_of(fake) == {}
    assert not re.search(f"hunter2|{login}", said.err + (world.directory / "image.json").read_text())


def test_the_connection_always_breaks(
    world: World, wine_run: str, filled: dict[tuple[str, str], bytes]
) -> None:
    """A registry that hangs up at each upload is given up, by its name."""
    fake = Fake(blobs=dict(filled))
    fake.on(*SEND, drops(), times=999)
    with running_fake(fake) as address:
        refused(
            world, RegistryUnreachable, wine_run, "--repository", f"{address}/wine", *QUICKLY,
            says=(address, "is 127.0.0.1"),
        )  # fmt: skip
    assert tags_of(fake) == {}


def test_a_tag_appears_while_the_image_is_pushed(
    world: World, wine_run: str, filled: dict[tuple[str, str], bytes]
) -> None:
    """Somebody else takes the tag after the first look: it stays theirs."""
    fake = Fake(blobs=dict(filled))
    theirs = f"sha256:{'a' * 64}"

    def take_the_tag(handler: Handler) -> None:
        fake.tags["wine", "stable"] = theirs
        fake.manifests["wine", theirs] = ("application/vnd.oci.image.manifest.v1+json", b"{}")
        handler.answer(500, headers=AT_ONCE)

    fake.on(*BY_DIGEST, take_the_tag)
    with running_fake(fake) as address:
        refused(
            world, TagExists, wine_run, "--repository", f"{address}/wine", "--tag", "stable", *QUICKLY,
            says=("wine:stable", theirs, "--move-tag"),
        )  # fmt: skip
    assert tags_of(fake) == {("wine", "stable"): theirs}


def test_a_real_registry_whose_disk_is_full(world: World, wine_run: str, tmp_path: Path) -> None:
    """It is named as full, without a tag; with more room the same command finishes."""
    directory = tmp_path / "registry"
    with disk_of(directory, "40m"), running_registry(directory, deadline_s=60) as address:
        refused(
            world, RegistryError, wine_run, "--repository", f"{address}/wine", *QUICKLY,
            says=(address, "disk is full", "free space"),
        )  # fmt: skip
        grow(directory, "400m")
        went_well(world, f"{address}/wine", wine_run)
