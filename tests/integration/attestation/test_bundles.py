"""What runbake signs, others verify; what others changed, runbake refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.sigstore_js import verified_payload
from runbake.attestation import (
    Statement,
    Subject,
    VerifyingKey,
    bundle_of,
    open_signer,
    opened_bundle,
    parse_statement,
    read_verifying_key,
)
from runbake.errors import AttestationError, SigningError
from runbake.image import Digest
from tests.integration.attestation.keys import KeyPair, key_pair
from tests.unit.samples import HOSTILE

STATEMENT = Statement.of(
    (Subject(name="wine", digest=Digest.of(b"image")), Subject(name="", digest=Digest.of(b"platform"))),
    "https://example.org/said/v1",
    {"said": HOSTILE, "numbers": [1, 0.5, None]},
)


def test_sigstores_own_implementation_verifies_our_bundles(
    sigstore_js: Path, our_key: KeyPair, their_key: KeyPair, tmp_path: Path
) -> None:
    """sigstore-js reads the bundle and verifies it with our key, and with no other; for both kinds of key."""
    (tmp_path / "ed25519").mkdir()
    for pair in (our_key, key_pair(tmp_path / "ed25519", "ed25519")):
        file = tmp_path / "bundle.json"
        file.write_bytes(bundle_of(STATEMENT, open_signer(str(pair.private))))

        assert verified_payload(sigstore_js, file, pair.public) == (STATEMENT.to_bytes(), "")
        payload, said = verified_payload(sigstore_js, file, their_key.public)
        assert payload == b""
        assert "SIGNATURE_ERROR" in said


def test_a_bundle_is_laid_out_as_cosign_reads_it(our_key: KeyPair) -> None:
    """Exactly the keys of the format, exactly one signature, and the payload is our statement."""
    document = json.loads(bundle_of(STATEMENT, open_signer(str(our_key.private))))

    assert set(document) == {"mediaType", "verificationMaterial", "dsseEnvelope"}
    assert set(document["dsseEnvelope"]) == {"payload", "payloadType", "signatures"}
    (signature,) = document["dsseEnvelope"]["signatures"]
    assert set(signature) == {"keyid", "sig"}
    assert base64.b64decode(document["dsseEnvelope"]["payload"]) == STATEMENT.to_bytes()
    statement = json.loads(STATEMENT.to_bytes())
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}


def test_a_signature_holds_for_its_key_only(our_key: KeyPair, their_key: KeyPair) -> None:
    """Whatever key id somebody writes beside it: the fingerprint is a hint, the mathematics decide."""
    ours, theirs = (read_verifying_key(pair.public) for pair in (our_key, their_key))
    body = bundle_of(STATEMENT, open_signer(str(their_key.private)))
    forged = body.replace(theirs.id.encode(), ours.id.encode())
    assert forged != body

    for each in (body, forged):
        sealed = opened_bundle(each)
        assert sealed.signed_by([ours]) is None
        assert sealed.signed_by([ours, theirs]) is theirs


def test_any_changed_byte_of_a_bundle_is_noticed(our_key: KeyPair) -> None:
    """One byte of the payload or of the signature: it cannot be read, or nobody signed it."""
    body = bundle_of(STATEMENT, open_signer(str(our_key.private)))
    document, keys = json.loads(body), [read_verifying_key(our_key.public)]
    envelope = document["dsseEnvelope"]
    for place in (envelope, envelope["signatures"][0]):
        name = "payload" if "payload" in place else "sig"
        whole = base64.b64decode(place[name])
        for position in range(0, len(whole), 7):
            spoilt = bytearray(whole)
            spoilt[position] ^= 1
            place[name] = base64.b64encode(bytes(spoilt)).decode()
            assert not believed(json.dumps(document).encode(), keys)
        place[name] = base64.b64encode(whole).decode()
    assert believed(json.dumps(document).encode(), keys)


def believed(body: bytes, keys: list[VerifyingKey]) -> bool:
    try:
        return opened_bundle(body).signed_by(keys) is not None
    except AttestationError:
        return False


@given(
    st.binary(max_size=200)
    | st.recursive(st.text() | st.none(), st.lists, max_leaves=5).map(
        lambda value: json.dumps({"mediaType": value, "dsseEnvelope": value, "_type": value}).encode()
    )
)
def test_anything_else_is_an_error_and_no_crash(body: bytes) -> None:
    """Bundles and statements come from whoever may push: each way to be malformed is the same error."""
    for read in (opened_bundle, parse_statement):
        with pytest.raises(AttestationError):
            read(body)


@pytest.mark.parametrize("kind", ["p384", "rsa"])
def test_keys_that_cosign_may_not_verify_are_refused(kind: Literal["p384", "rsa"], tmp_path: Path) -> None:
    """Neither for signing nor for verifying, before anything is built."""
    pair = key_pair(tmp_path, kind)

    for use in (lambda: open_signer(str(pair.private)), lambda: read_verifying_key(pair.public)):
        with pytest.raises(SigningError) as refused:
            use()
        assert "P-256" in refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJr\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----",
        b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(text: bytes, tmp_path: Path) -> None:
    """The message names the file and never its content."""
    (tmp_path / "key").write_bytes(text)

    with pytest.raises(SigningError, match="key") as refused:
        open_signer(str(tmp_path / "key"))
    assert "c2VjcmV0" not in str(refused.value)


def test_a_missing_or_encrypted_key_is_named(tmp_path: Path) -> None:
    """The message says which file, and the hint how a key is made."""
    with pytest.raises(SigningError, match="No such file"):
        open_signer(str(tmp_path / "none"))
    with pytest.raises(SigningError) as refused:
        open_signer(str(key_pair(tmp_path, password=b"x").private))
    assert "without a password" in refused.value.hint
