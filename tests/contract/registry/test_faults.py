"""What the client does when a registry misbehaves: only the fake can be made to."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from lab.registry_server import free_port
from runbake.errors import (
    DigestMismatch,
    ManifestNotFound,
    RegistryError,
    RegistryUnreachable,
)
from runbake.image.blob import Blob, Digest
from runbake.registry import Registry
from runbake.registry.transport import ATTEMPTS
from tests.contract.registry.fake_registry import (
    Act,
    Handler,
    World,
    answers,
    drops,
    stores_then_drops,
)
from tests.contract.registry.parts import Clock, Naps, blob_of, opened

LARGE = bytes(range(256)) * (16 << 10)  # 4 MiB: more than the sockets' buffers hold
UPLOAD = r"/uploads/\d+"
FULL_28 = '{"errors":[{"code":"UNKNOWN","detail":{"DriverName":"filesystem","Enclosed":{"Err":28}}}]}'
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


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
        answers(400, '{"errors":[{"code":"DIGEST_INVALID"}]}'),
        drops(0),
        drops(2 << 20),
    ],
    ids=["500", "503", "429", "404", "416", "damaged", "dropped at once", "dropped in the middle"],
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


def test_slow_refusals_end(fake: str, world: World, naps: Naps) -> None:
    """A registry that takes its time for each refusal is left after a quarter of an hour."""
    clock = Clock()
    world.on("GET", "/tags/", _slow(clock, 400), times=99)
    with opened(fake, naps=naps, clock=clock) as registry, pytest.raises(RegistryError, match="503"):
        registry.list_tags("a/b")
    # Begun after 0, 400 and 800 seconds.
    assert (world.count("GET"), len(naps.taken)) == (3, 2)


def test_pause_that_would_be_too_long_is_not_taken(fake: str, world: World, naps: Naps) -> None:
    """When the pause that a registry asks for ends too late, it is not waited for."""
    clock = Clock()
    world.on("GET", "/tags/", _slow(clock, 870, {"Retry-After": "40"}), times=99)
    with opened(fake, naps=naps, clock=clock) as registry, pytest.raises(RegistryError, match="503"):
        registry.list_tags("a/b")
    assert (world.count("GET"), naps.taken) == (1, [])


def test_large_blob_has_more_time(fake: str, world: World, naps: Naps) -> None:
    """Five gigabytes over a slow line may fail late and still be sent again."""
    clock = Clock()
    world.on("POST", "/uploads/", _slow(clock, 3600), times=99)
    huge = Blob(digest=Digest.of(b"huge"), size_bytes=5 << 30, open=Zeros)
    with opened(fake, naps=naps, clock=clock) as registry, pytest.raises(RegistryError, match="503"):
        registry.push_blob("a/b", huge)
    assert world.count("POST") == ATTEMPTS


def _slow(clock: Clock, seconds: float, headers: dict[str, str] | None = None) -> Act:
    def act(handler: Handler) -> None:
        clock.now += seconds
        handler.answer(503, headers=headers)

    return act


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


@pytest.mark.parametrize(("method", "path"), [("POST", "/uploads/$"), ("PUT", UPLOAD)])
def test_missing_repository_may_be_a_hang_up(client: Registry, world: World, method: str, path: str) -> None:
    """Where a registry keeps hanging up at or during an upload, the repository may be missing: a hint."""
    world.on(method, path, drops(100), times=99)
    with pytest.raises(RegistryUnreachable) as caught:
        client.push_blob("a/b", blob_of(LARGE))
    assert "repository does not exist" in caught.value.hint


def test_repository_missing_on_upload(client: Registry, world: World) -> None:
    """A registry without the repository says so, and the hint how to make it."""
    world.on("POST", "/uploads/", answers(404, '{"errors":[{"code":"NAME_UNKNOWN"}]}'))
    with pytest.raises(ManifestNotFound, match="NAME_UNKNOWN") as caught:
        client.push_blob("a/b", blob_of(b"x"))
    assert "create-repository" in caught.value.hint
