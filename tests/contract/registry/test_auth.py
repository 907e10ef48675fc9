"""Logins: the real registry's htpasswd, and token services of every temper."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from lab.registry_server import free_port, running_registry
from runbake.errors import RegistryAuthError, RegistryError, RegistryUnreachable
from runbake.image.blob import Digest
from runbake.registry import Registry
from tests.contract.registry.fake_registry import Handler, Tokens, World, answers, drops, running_fake
from tests.contract.registry.parts import Clock, Naps, blob_of, opened, push_image

USER = "märta"
LARGE = bytes(range(256)) * (16 << 10)


def docker_config(directory: Path, host: str, **entry: str) -> Path:
    """A configuration as `docker login` leaves it."""
    path = directory / "config.json"
    path.write_text(json.dumps({"auths": {host: entry}}))
    return path


def encoded(password: str) -> str:
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


@pytest.fixture
def password() -> str:
    """A password that nothing else contains, with letters that latin-1 and UTF-8 spell differently."""
    return secrets.token_hex(16) + "ßé"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real registry that wants a password: address and password."""
    word = secrets.token_hex(16) + "ß"
    line = f"{USER}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}"
    with running_registry(tmp_path_factory.mktemp("guarded"), deadline_s=60, htpasswd=line) as address:
        yield address, word


def told_by(error: BaseException) -> str:
    """Everything that a report of an error could show."""
    chain, text = error, ""
    while chain is not None:
        text += f"{chain} {chain!r} {getattr(chain, 'hint', '')}"
        chain = chain.__cause__ or chain.__context__  # type: ignore[assignment]
    return text + "".join(traceback.format_exception(error))


def test_login_to_a_real_registry(
    guarded: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its password, a real registry takes an image, and the password is in no log line or repr."""
    address, word = guarded
    with (
        caplog.at_level(logging.DEBUG),
        opened(address, config=docker_config(tmp_path, address, auth=encoded(word))) as registry,
    ):
        _, digest = push_image(registry, "a/b", "tag")
        assert registry.resolve("a/b", "tag") == digest
        shown = repr(registry) + repr(vars(registry))
    lines = "".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert "GET /v2/" in lines or "PUT /v2/" in lines
    for secret in (word, encoded(word)):
        assert secret not in lines + shown


@pytest.mark.parametrize("entry", [{}, {"auth": "wrong"}], ids=["none", "wrong"])
def test_refused_login_to_a_real_registry(
    guarded: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: dict[str, str]
) -> None:
    """Without the right password, the error names host and login, never the password that was tried."""
    address, _ = guarded
    tried = "not-" + secrets.token_hex(16)
    if entry:
        entry = {"auth": encoded(tried)}
    naps = Naps()
    with (
        caplog.at_level(logging.DEBUG),
        opened(address, config=docker_config(tmp_path, address, **entry), naps=naps) as registry,
        pytest.raises(RegistryAuthError, match="401") as caught,
    ):
        registry.push_blob("a/b", blob_of(b"x"))
    assert f"docker login {address}" in caught.value.hint
    assert naps.taken == []
    lines = "".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    for secret in (tried, encoded(tried)):
        assert secret not in told_by(caught.value) + lines


def test_wrong_password_is_sent_once(fake: str, world: World, tmp_path: Path) -> None:
    """A password that was refused is not tried again: accounts are locked for less."""
    world.basic = (USER, "right")
    config = docker_config(tmp_path, fake, auth=encoded("wrong"))
    with opened(fake, config=config) as registry, pytest.raises(RegistryAuthError):
        registry.list_tags("a/b")
    assert sum(bool(seen.authorization) for seen in world.seen) == 1


def test_body_is_not_sent_before_the_login(fake: str, world: World, tmp_path: Path, password: str) -> None:
    """The 401 comes to a small request, so that a blob is sent once; also after a mount that was not one."""
    world.basic = (USER, password)
    config = docker_config(tmp_path, fake, auth=encoded(password))
    with opened(fake, config=config) as registry:
        registry.push_blob("a/b", blob_of(LARGE), mount_from="c/d")
    world.basic, world.tokens = None, Tokens(basic=(USER, password))
    with opened(fake, config=config) as registry:
        registry.push_blob("a/b", blob_of(LARGE + b"2"), mount_from="c/d")
    assert world.count("PUT") == 2


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_tokens_are_renewed(fake: str, world: World, tmp_path: Path, password: str, uses: int) -> None:
    """Tokens that are refused early are renewed, for each repository its own."""
    world.tokens = Tokens(basic=(USER, password), uses=uses)
    with opened(fake, config=docker_config(tmp_path, fake, auth=encoded(password))) as registry:
        for name in ("a/b", "c/d"):
            _, digest = push_image(registry, name, "tag")
            assert registry.resolve(name, "tag") == digest
        assert registry.push_blob("c/d", blob_of(LARGE), mount_from="a/b") == "uploaded"
        assert registry.push_blob("a/b", blob_of(LARGE), mount_from="c/d") == "mounted"


def test_token_is_renewed_before_a_body(fake: str, world: World, tmp_path: Path, password: str) -> None:
    """A token that ends between the beginning of an upload and its body is renewed in time."""
    world.tokens, clock = Tokens(basic=(USER, password), expires_in_s=30), Clock()
    config = docker_config(tmp_path, fake, auth=encoded(password))
    blob = blob_of(LARGE)

    def late() -> object:
        clock.now += 25
        return blob.open()

    slow = type(blob)(digest=blob.digest, size_bytes=blob.size_bytes, open=late)  # type: ignore[arg-type]
    with opened(fake, config=config, clock=clock) as registry:
        assert registry.push_blob("a/b", slow) == "uploaded"
    assert world.count("PUT") == 1
    assert world.count("GET", "/token") == 3
    (put,) = (seen for seen in world.seen if seen.method == "PUT")
    assert put.authorization == "Bearer token-2"


def test_token_is_reused(fake: str, world: World, tmp_path: Path, password: str) -> None:
    """One token serves one scope while it holds, from all threads."""
    world.tokens = Tokens(basic=(USER, password))
    gate = threading.Barrier(4)
    with opened(fake, config=docker_config(tmp_path, fake, auth=encoded(password))) as registry:

        def ask(_: int) -> bool:
            gate.wait(timeout=10)
            return registry.has_blob("a/b", Digest.of(b""))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(ask, range(4))) == [False] * 4
        registry.list_tags("a/b")
    assert world.count("GET", "/token") == 1


def test_anonymous_token(fake: str, world: World) -> None:
    """A public image needs a token, but no login."""
    world.tokens = Tokens()
    with opened(fake) as registry:
        assert registry.list_tags("library/python") == ()
    (asked,) = (seen for seen in world.seen if seen.path.startswith("/token"))
    assert asked.authorization == ""
    assert "service=lab" in asked.path


def test_identity_token(fake: str, world: World, tmp_path: Path) -> None:
    """An identity token is exchanged in a form, never in a URL or header."""
    refresh = secrets.token_hex(16)
    world.tokens = Tokens(refresh=refresh)
    with opened(fake, config=docker_config(tmp_path, fake, identitytoken=refresh)) as registry:
        push_image(registry, "a/b", "tag")
    assert world.count("POST", "^/token$") == 2
    assert not any(refresh in seen.path + seen.authorization for seen in world.seen)


@pytest.mark.parametrize("status", [404, 405])
def test_identity_token_where_forms_are_unknown(fake: str, world: World, tmp_path: Path, status: int) -> None:
    """A token service that takes no form gets the identity token as a password, never in a URL."""
    refresh = secrets.token_hex(16)
    world.tokens = Tokens(refresh=refresh)
    world.on("POST", "^/token$", answers(status), times=99)
    with opened(fake, config=docker_config(tmp_path, fake, identitytoken=refresh)) as registry:
        push_image(registry, "a/b", "tag")
    assert world.count("GET", r"^/token\?") == 2
    assert not any(refresh in seen.path for seen in world.seen)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_identity_token_is_sent_once(fake: str, world: World, tmp_path: Path, status: int) -> None:
    """A token service that knows forms and refuses this one does not see the token in another guise."""
    refresh = secrets.token_hex(16)
    world.tokens = Tokens(refresh=refresh)
    world.on("POST", "^/token$", answers(status), times=99)
    config = docker_config(tmp_path, fake, identitytoken=refresh)
    with opened(fake, config=config) as registry, pytest.raises(RegistryError, match=str(status)) as caught:
        registry.list_tags("a/b")
    assert world.count("GET", r"^/token") == 0
    assert refresh not in told_by(caught.value)


def test_identity_token_as_password_is_not_redirected(fake: str, world: World, tmp_path: Path) -> None:
    """Where a token service points elsewhere, the identity token that it got as a password stays behind."""
    refresh, other = secrets.token_hex(16), World()
    world.tokens = Tokens(refresh=refresh)
    with running_fake(other) as elsewhere:
        world.on("POST", "^/token$", answers(405), times=9)
        world.on("GET", "^/token", answers(307, headers={"Location": f"http://{elsewhere}/x"}), times=9)
        other.on("GET", "/x", answers(403))
        config = docker_config(tmp_path, fake, identitytoken=refresh)
        with opened(fake, config=config) as registry, pytest.raises(RegistryError, match="403"):
            registry.list_tags("a/b")
    assert [seen.authorization for seen in other.seen] == [""]


def test_identity_token_is_not_redirected(fake: str, world: World, tmp_path: Path) -> None:
    """The form with an identity token goes nowhere else, wherever the token service points."""
    refresh, other = secrets.token_hex(16), World()
    world.tokens = Tokens(refresh=refresh)
    with running_fake(other) as elsewhere:
        headers = {"Location": f"http://{elsewhere}/token"}
        world.on("POST", "/token", answers(307, headers=headers), times=9)
        config = docker_config(tmp_path, fake, identitytoken=refresh)
        with opened(fake, config=config) as registry, pytest.raises(RegistryError, match="307"):
            registry.list_tags("a/b")
    assert other.seen == []


@pytest.mark.parametrize(
    "fault",
    [answers(503), answers(429, headers={"Retry-After": "3"}), drops()],
    ids=["503", "429", "dropped"],
)
def test_weak_token_service(fake: str, world: World, tmp_path: Path, password: str, fault: object) -> None:
    """A token service that fails in passing is asked again."""
    world.tokens, naps = Tokens(basic=(USER, password)), Naps()
    world.on("GET", "/token", fault, times=2)  # type: ignore[arg-type]
    config = docker_config(tmp_path, fake, auth=encoded(password))
    with opened(fake, config=config, naps=naps) as registry:
        assert registry.list_tags("a/b") == ()
    assert len(naps.taken) == 2


def test_token_service_is_away(fake: str, world: World, tmp_path: Path, password: str) -> None:
    """A token service that does not answer is named."""
    away = f"127.0.0.1:{free_port()}"
    world.tokens = Tokens(realm=f"http://{away}/token")
    config = docker_config(tmp_path, fake, auth=encoded(password))
    with opened(fake, config=config) as registry, pytest.raises(RegistryUnreachable, match=away) as caught:
        registry.list_tags("a/b")
    assert password not in told_by(caught.value)


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"token": 3}', '{"token": ""}'])
def test_token_service_gives_none(fake: str, world: World, text: str) -> None:
    """A token service that gives no token is an error, not a crash, and its answer is not shown."""
    world.tokens = Tokens()
    world.on("GET", "/token", answers(200, text))
    with opened(fake) as registry, pytest.raises(RegistryAuthError, match="gave no token"):
        registry.list_tags("a/b")


def test_token_service_refuses(fake: str, world: World, tmp_path: Path) -> None:
    """A wrong password at the token service names the registry to log in to."""
    world.tokens = Tokens(basic=(USER, "right"))
    config = docker_config(tmp_path, fake, auth=encoded("wr0ng"))
    with opened(fake, config=config) as registry, pytest.raises(RegistryAuthError) as caught:
        registry.list_tags("a/b")
    assert caught.value.hint.startswith(f"docker login {fake};")
    assert "wr0ng" not in told_by(caught.value)


@pytest.mark.parametrize(
    "challenge",
    ["", "Negotiate", "Bearer", 'Bearer realm=""', 'Bearer realm="file:///etc/passwd"', 'Bearer realm="//x"'],
)
def test_challenge_that_cannot_be_met(fake: str, world: World, tmp_path: Path, challenge: str) -> None:
    """A 401 without a usable challenge is an error with the login as its hint."""
    world.on(
        "GET", "/tags/", answers(401, headers={"WWW-Authenticate": challenge} if challenge else {}), times=9
    )
    config = docker_config(tmp_path, fake, auth=encoded("x"))
    with opened(fake, config=config) as registry, pytest.raises(RegistryAuthError):
        registry.list_tags("a/b")
    assert not any(seen.authorization for seen in world.seen)


@pytest.mark.parametrize(
    "challenge",
    ['Basic realm="x", Bearer {}', 'Bearer {}, Basic realm="x, y"', "bearer {}", "Negotiate, Bearer {}"],
)
def test_one_of_several_challenges(
    fake: str, world: World, tmp_path: Path, password: str, challenge: str
) -> None:
    """Of several challenges, the token's is met, in whatever order and case they come."""
    world.tokens = Tokens(basic=(USER, password))
    bearer = f'realm="http://{fake}/token",service="lab",scope="repository:a/b:pull"'
    world.on("GET", "/tags/", answers(401, headers={"WWW-Authenticate": challenge.format(bearer)}))
    with opened(fake, config=docker_config(tmp_path, fake, auth=encoded(password))) as registry:
        assert registry.list_tags("a/b") == ()
    assert world.seen[-1].authorization == "Bearer token-0"


def test_refusal_in_the_middle_of_a_body(fake: str, world: World, tmp_path: Path, password: str) -> None:
    """A 401 that comes while a body is sent is met, and the body sent again from its first byte."""
    world.tokens = Tokens(basic=(USER, password))
    challenge = f'Bearer realm="http://{fake}/token",service="lab",scope="repository:a/b:pull,push"'

    def refuse(handler: Handler) -> None:
        handler.take(1 << 20)
        handler.answer(401, headers={"WWW-Authenticate": challenge})

    world.on("PUT", "/uploads/", refuse)
    sent: list[int] = []
    with opened(fake, config=docker_config(tmp_path, fake, auth=encoded(password))) as registry:
        assert registry.push_blob("a/b", blob_of(LARGE), progress=sent.append) == "uploaded"
    assert world.blobs["a/b", Digest.of(LARGE)] == LARGE
    assert sum(sent) == len(LARGE)


# --- other hosts -----------------------------------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[tuple[World, str]]:
    """A host that our credentials are not for."""
    world = World()
    with running_fake(world) as address:
        yield world, address


@pytest.mark.parametrize("kind", ["basic", "tokens"])
def test_redirect_takes_no_credentials_along(
    fake: str,
    world: World,
    other: tuple[World, str],
    tmp_path: Path,
    password: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The storage behind a registry sees neither password nor token, nor what a .netrc has for it."""
    storage, address = other
    (tmp_path / "netrc").write_text("default login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    pair = (USER, password)
    world.basic, world.tokens = (pair, None) if kind == "basic" else (None, Tokens(basic=pair))
    blob = blob_of(b"elsewhere")

    def redirect(handler: Handler) -> None:
        if not handler.headers.get("Authorization"):
            handler._may()
            return
        handler.answer(307, headers={"Location": f"http://{address}/x"})

    world.on("GET", "/blobs/", redirect, times=9)
    storage.on("GET", "/x", answers(200, "elsewhere"))
    with opened(fake, config=docker_config(tmp_path, fake, auth=encoded(password))) as registry:
        assert registry.read_blob("a/b", blob.digest, 100) == b"elsewhere"
    assert [seen.authorization for seen in storage.seen] == [""]
    assert not any("Basic eDp5" in seen.authorization for seen in world.seen)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_challenge_of_another_host_is_not_met(
    fake: str, world: World, other: tuple[World, str], tmp_path: Path, password: str, scheme: str
) -> None:
    """Where a registry redirects to cannot ask for our password."""
    storage, address = other
    world.on("GET", "/blobs/", answers(307, headers={"Location": f"http://{address}/x"}), times=9)
    challenge = f'{scheme} realm="http://{address}/token",service="x"'
    storage.on("GET", "/x", answers(401, headers={"WWW-Authenticate": challenge}), times=9)
    config = docker_config(tmp_path, fake, auth=encoded(password))
    with opened(fake, config=config) as registry, pytest.raises(RegistryError, match="401"):
        registry.read_blob("a/b", Digest.of(b""), 100)
    assert [seen.path for seen in storage.seen] == ["/x"]
    assert not any(seen.authorization for seen in (*storage.seen, *world.seen))


def test_upload_elsewhere_takes_no_credentials_along(
    fake: str, world: World, other: tuple[World, str], tmp_path: Path, password: str
) -> None:
    """An upload that is sent to another host goes there without a login."""
    world.basic = (USER, password)
    storage, address = other

    def begin(handler: Handler) -> None:
        if handler._may():
            handler.answer(202, headers={"Location": f"http://{address}/v2/a/b/blobs/uploads/9?sig=1"})

    world.on("POST", "/uploads/", begin, times=9)
    with opened(fake, config=docker_config(tmp_path, fake, auth=encoded(password))) as registry:
        assert registry.push_blob("a/b", blob_of(b"x")) == "uploaded"
    (put,) = storage.seen
    assert (put.method, put.authorization) == ("PUT", "")
    assert "?sig=1&digest=sha256" in put.path


def test_netrc_is_not_read(fake: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .netrc does not stand in for Docker's configuration."""
    (tmp_path / "netrc").write_text("default login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    world.basic = ("x", "y")
    with opened(fake) as registry, pytest.raises(RegistryAuthError):
        registry.list_tags("a/b")
    assert not any(seen.authorization for seen in world.seen)


def test_cookies_are_not_kept(client: Registry, world: World) -> None:
    """A cookie of a registry is not sent back."""
    cookies: list[str | None] = []

    def look(handler: Handler) -> None:
        cookies.append(handler.headers.get("Cookie"))
        handler.answer(404, headers={"Set-Cookie": "server=1; Path=/"})

    world.on("GET", "/tags/", look, times=2)
    for _ in range(2):
        client.list_tags("a/b")
    assert cookies == [None, None]
