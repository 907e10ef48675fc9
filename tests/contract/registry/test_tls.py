"""Certificates, and what TLS protects."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runbake.errors import RegistryAuthError, RegistryUnreachable
from tests.contract.registry.fake_registry import Handler, Tokens, World, running_fake
from tests.contract.registry.parts import Naps, blob_of, opened


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure(world: World, certificate: Path) -> Iterator[str]:
    """The fake behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running_fake(world, context) as address:
        yield address


def test_unknown_certificate_is_refused(secure: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody vouches for ends it at once, and the hint says how to trust it."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    naps = Naps()
    with (
        opened(secure, insecure=False, naps=naps) as registry,
        pytest.raises(RegistryUnreachable, match="certificate is not trusted") as caught,
    ):
        registry.list_tags("a/b")
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    assert (naps.taken, world.seen) == ([], [])


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that trusts the certificate."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.mark.usefixtures("trusted")
def test_own_authority(secure: str, world: World) -> None:
    """A certificate in REQUESTS_CA_BUNDLE is trusted, for sending too."""
    blob = blob_of(bytes(3 << 20))
    with opened(secure, insecure=False) as registry:
        assert registry.push_blob("a/b", blob) == "uploaded"
    assert len(world.blobs["a/b", blob.digest]) == 3 << 20


@pytest.mark.usefixtures("trusted")
def test_password_stays_under_tls(secure: str, world: World) -> None:
    """A token service without TLS gets no request from a registry with it."""
    spy = World()
    with running_fake(spy) as plain:
        world.tokens = Tokens(realm=f"http://{plain}/token")
        with (
            opened(secure, insecure=False) as registry,
            pytest.raises(RegistryAuthError, match="without TLS"),
        ):
            registry.list_tags("a/b")
    assert spy.seen == []


@pytest.mark.usefixtures("trusted")
def test_registry_that_forgets_its_tls(secure: str, world: World) -> None:
    """A registry behind a proxy that names itself with http is still spoken to over TLS."""

    def begin(handler: Handler) -> None:
        location = f"http://{handler.address}/v2/a/b/blobs/uploads/7"
        handler.answer(202, headers={"Location": location})

    world.on("POST", "/uploads/", begin)
    with opened(secure, insecure=False) as registry:
        assert registry.push_blob("a/b", blob_of(b"x")) == "uploaded"
