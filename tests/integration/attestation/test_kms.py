"""A key in KMS signs as a file does; moto shows that the calls are well-formed, not that AWS agrees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from runbake.attestation import bundle_of, open_signer, opened_bundle
from runbake.errors import SigningError
from tests.integration.attestation.test_bundles import STATEMENT


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a KMS, which boto3 uses."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    # boto3 keeps its default session, with the credentials that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    yield f"http://{host}:{port}"
    server.stop()


def test_kms_signs_the_envelope(kms: str) -> None:
    """By id and by alias; KMS gets the digest of what the envelope signs, and its own key verifies that.

    moto takes MessageType DIGEST for RAW and hashes the digest once more, so that is what is verified here.
    """
    client = boto3.client("kms")
    key_id = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/release", TargetKeyId=key_id)

    for name in (key_id, "alias/release"):
        signer = open_signer(f"awskms:{name}")
        sealed = opened_bundle(bundle_of(STATEMENT, signer))
        assert signer.public.has_signed(hashlib.sha256(sealed.signed).digest(), sealed.signature)
        assert "BEGIN PUBLIC KEY" in signer.public.pem


def test_kms_refusals_are_named(kms: str) -> None:
    """A key that is not there, one that encrypts, one of another kind: which, and what to ask for."""
    client = boto3.client("kms")
    encrypts = client.create_key()["KeyMetadata"]["KeyId"]
    rsa = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]

    for key_id in ("00000000-0000-0000-0000-000000000000", encrypts, rsa):
        with pytest.raises(SigningError, match=key_id):
            open_signer(f"awskms:{key_id}")
