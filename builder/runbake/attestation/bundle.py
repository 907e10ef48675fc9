"""A Sigstore bundle: a statement in a signed DSSE envelope, as one JSON document.

Source: sigstore/protobuf-specs, sigstore_bundle.proto; secure-systems-lab/dsse, envelope.md. cosign reads it
strictly: one signature, no unknown keys.

securesystemslib is imported where it is used, here and in `keys`: it brings botocore, a third of a second.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runbake.attestation.keys import Signer, VerifyingKey
from runbake.attestation.statement import PAYLOAD_TYPE, Statement, parse_statement
from runbake.errors import AttestationError
from runbake.image import canonical_json

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A statement out of an envelope, with what signs it; believe it only where `signed_by` names a key.

    `signed` is the exact bytes that the signature is over.
    """

    statement: Statement
    signed: bytes
    signature: bytes

    def signed_by(self, keys: Iterable[VerifyingKey]) -> VerifyingKey | None:
        """The one of these keys that signed it, None where none of them did."""
        return next((key for key in keys if key.has_signed(self.signed, self.signature)), None)


def bundle_of(statement: Statement, signer: Signer) -> bytes:
    """Sign a statement and put it into a bundle.

    Raises:
        SigningError: the key's holder refuses.
    """
    from securesystemslib.dsse import Envelope

    envelope = Envelope(statement.to_bytes(), PAYLOAD_TYPE, {})
    signature = signer.sign(envelope.pae())
    envelope.signatures[signature.keyid] = signature
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": signer.public.id},
            # Not required, but Python's models of the format refuse a bundle without it.
            "tlogEntries": [],
        },
        "dsseEnvelope": envelope.to_dict(),
    }
    return canonical_json(document)


def opened_bundle(body: bytes) -> Sealed:
    """The statement and its signature out of a bundle; anybody may have written it, and nothing is verified.

    Raises:
        AttestationError: it is no bundle of this version with one signed in-toto statement.
    """
    from securesystemslib.dsse import Envelope

    try:
        document: dict[str, Any] = json.loads(body)
        if document["mediaType"] != BUNDLE_TYPE:
            raise AttestationError(f"its type is {document['mediaType']!r}, not {BUNDLE_TYPE!r}"[:300])
        envelope = document["dsseEnvelope"]
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise AttestationError(f"its payload is {envelope['payloadType']!r}, not {PAYLOAD_TYPE!r}"[:300])
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        seal = base64.b64decode(signature["sig"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise AttestationError(f"it is no bundle of one signed statement: {error!r}"[:300]) from error
    signed = Envelope(payload, PAYLOAD_TYPE, {}).pae()
    return Sealed(statement=parse_statement(payload), signed=signed, signature=seal)
