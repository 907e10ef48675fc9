"""Credentials from Docker's configuration, in every form it takes, and what is said when it is broken."""

from __future__ import annotations

import base64
import json
import sys
import traceback
from pathlib import Path

import pytest

from runbake.errors import RegistryAuthError
from runbake.registry import Credentials, CredentialSource, Secret

HOST = "registry.example.org:5000"
HUB = "https://index.docker.io/v1/"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def source(directory: Path, document: object) -> CredentialSource:
    """Credentials from this configuration; a text is written as it is."""
    text = document if isinstance(document, str) else json.dumps(document)
    (directory / "config.json").write_text(text)
    return CredentialSource(directory / "config.json")


def pair(found: Credentials | None) -> tuple[str, str, bool] | None:
    return (found.username, found.password.reveal(), found.identity_token) if found else None


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is PATH: programs in it are the only ones."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def write_helper(directory: Path, name: str, body: str) -> None:
    """A credential helper whose `host` is what it is asked for."""
    program = directory / f"docker-credential-{name}"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"assert sys.argv[1:] == ['get']\nhost = sys.stdin.read()\n{body}"
    )
    program.chmod(0o755)


ANSWERS = "print(json.dumps({'ServerURL': host, 'Username': 'u', 'Secret': 'for ' + host}))\n"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": b64("user:pass")}, ("user", "pass", False)),
        ({"auth": b64("user:pa:ss:")}, ("user", "pa:ss:", False)),
        ({"auth": b64("üser:päss")}, ("üser", "päss", False)),
        ({"auth": b64("user:pass\0\0")}, ("user", "pass", False)),
        ({"auth": b64("user:")}, ("user", "", False)),
        ({"username": "user", "password": "pass"}, ("user", "pass", False)),
        ({"identitytoken": "tok", "auth": b64("<token>:")}, ("<token>", "tok", True)),
        ({}, None),
        ({"auth": ""}, None),
        (None, None),
        ("text", None),
    ],
)
def test_entries(tmp_path: Path, entry: object, expected: object) -> None:
    """An entry is a pair in base64, a pair in plain words, or an identity token."""
    assert pair(source(tmp_path, {"auths": {HOST: entry}}).credentials_for(HOST)) == expected


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"http://{HOST}", HOST),
        (f"https://{HOST}/v2/", HOST),
        (HUB, "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_keys(tmp_path: Path, key: str, host: str) -> None:
    """A host is found under each key that Docker's versions and its relatives write."""
    found = source(tmp_path, {"auths": {"other.example": {}, key: {"auth": b64("u:p")}}}).credentials_for(
        host
    )
    assert pair(found) == ("u", "p", False)


@pytest.mark.parametrize("other", ["registry.example.org", "example.org:5000", "docker.io", "x" + HOST])
def test_other_hosts_get_nothing(tmp_path: Path, other: str) -> None:
    """Credentials of one host, port included, are for no other."""
    assert source(tmp_path, {"auths": {HOST: {"auth": b64("u:p")}}}).credentials_for(other) is None


@pytest.mark.parametrize("document", [{}, [], 3, {"auths": None}, {"auths": [], "credHelpers": None}])
def test_empty_configurations(tmp_path: Path, document: object) -> None:
    """A configuration without logins has none."""
    assert source(tmp_path, document).credentials_for(HOST) is None


def test_no_configuration(tmp_path: Path) -> None:
    """A missing file means nobody logged in."""
    assert CredentialSource(tmp_path / "none.json").credentials_for(HOST) is None


@pytest.mark.parametrize("text", ['{"auths": {"h": {"auth": "c2VjcmV0"', "", "\xff"])
def test_broken_configuration(tmp_path: Path, text: str) -> None:
    """A file that is not JSON is named, and nothing in it is shown."""
    with pytest.raises(RegistryAuthError, match=r"config\.json: it is not JSON") as caught:
        source(tmp_path, text).credentials_for(HOST)
    assert "DOCKER_CONFIG" in caught.value.hint
    assert caught.value.__cause__ is None
    assert "c2VjcmV0" not in "".join(traceback.format_exception(caught.value))


def test_unreadable_configuration(tmp_path: Path) -> None:
    """A configuration that cannot be opened is named with the system's reason."""
    (tmp_path / "config.json").mkdir()
    with pytest.raises(RegistryAuthError, match="Is a directory"):
        CredentialSource(tmp_path / "config.json").credentials_for(HOST)


@pytest.mark.parametrize("auth", ["!!!", "c2VjcmV0", base64.b64encode(b"secret:\xff").decode(), "c2Vj cmV0"])
def test_broken_entry(tmp_path: Path, auth: str) -> None:
    """An entry that is no pair is refused, with the command that renews it, and without its content."""
    with pytest.raises(RegistryAuthError, match=r"entry of registry\.example\.org:5000") as caught:
        source(tmp_path, {"auths": {HOST: {"auth": auth}}}).credentials_for(HOST)
    assert caught.value.hint == f"docker login {HOST}"
    assert "secret" not in repr(caught.value) + repr(caught.value.__cause__)


def test_helper_of_a_host(tmp_path: Path, helpers: Path) -> None:
    """A host's own helper is asked, before the store of all and the file."""
    write_helper(helpers, "one", ANSWERS)
    document = {
        "credHelpers": {HOST: "one"},
        "credsStore": "missing",
        "auths": {HOST: {"auth": b64("file:file")}},
    }
    assert pair(source(tmp_path, document).credentials_for(HOST)) == ("u", f"for {HOST}", False)


def test_store_of_all(tmp_path: Path, helpers: Path) -> None:
    """The store of all hosts is asked by Docker's names: the Hub has a legacy one."""
    write_helper(helpers, "all", ANSWERS)
    credentials = source(tmp_path, {"credsStore": "all", "credHelpers": {"other.example": "missing"}})
    assert pair(credentials.credentials_for(HOST)) == ("u", f"for {HOST}", False)
    assert pair(credentials.credentials_for("docker.io")) == ("u", f"for {HUB}", False)


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", HUB])
def test_helper_of_the_hub(tmp_path: Path, helpers: Path, key: str) -> None:
    """The Hub's helper is found under each of its names."""
    write_helper(helpers, "hub", ANSWERS)
    found = source(tmp_path, {"credHelpers": {key: "hub"}}).credentials_for("docker.io")
    assert pair(found) == ("u", f"for {HUB}", False)


def test_helper_gives_an_identity_token(tmp_path: Path, helpers: Path) -> None:
    """The user `<token>` marks the secret as an identity token."""
    write_helper(helpers, "t", "print(json.dumps({'Username': '<token>', 'Secret': 'tok'}))")
    found = source(tmp_path, {"credsStore": "t"}).credentials_for(HOST)
    assert pair(found) == ("<token>", "tok", True)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_helper_knows_nothing(tmp_path: Path, helpers: Path, stream: str) -> None:
    """Where a helper has nothing, the file counts; where that has nothing either, there are none."""
    text = "credentials not found in native keychain"
    write_helper(helpers, "n", f"print({text!r}, file=sys.{stream}); sys.exit(1)")
    document = {"credsStore": "n", "auths": {HOST: {"auth": b64("u:p")}}}
    assert pair(source(tmp_path, document).credentials_for(HOST)) == ("u", "p", False)
    assert source(tmp_path, {"credsStore": "n"}).credentials_for(HOST) is None


def test_missing_helper(tmp_path: Path, helpers: Path) -> None:
    """A helper that is not installed is named, with the file that names it."""
    with pytest.raises(RegistryAuthError, match=r"docker-credential-gone, named in .*config\.json") as caught:
        source(tmp_path, {"credsStore": "gone"}).credentials_for(HOST)
    assert "install docker-credential-gone" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        "print('s3cret', file=sys.stderr); sys.exit(3)",
        "print('s3cret')",
        "print(json.dumps({'Username': 's3cret'}))",
        "print('[\"s3cret\"]')",
        "sys.stdout.buffer.write(b's3cret\\xff')",
    ],
    ids=["fails", "no json", "half", "list", "no text"],
)
def test_broken_helper(tmp_path: Path, helpers: Path, body: str) -> None:
    """A helper that fails or answers nonsense is named, and what it said is not shown."""
    write_helper(helpers, "bad", body)
    with pytest.raises(RegistryAuthError, match="docker-credential-bad") as caught:
        source(tmp_path, {"credsStore": "bad"}).credentials_for(HOST)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_secret_is_not_shown() -> None:
    """A secret shows itself only when asked, however it is printed."""
    secret = Secret("hunter2")
    found = Credentials(username="u", password=secret)
    assert "hunter2" not in f"{secret} {secret!r} {found} {found!r} {[secret]} {vars(Secret).get('x')}"
    assert secret.reveal() == "hunter2"
