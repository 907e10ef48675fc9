"""Statements about an image, signed or not, attached to it in its registry, and read back.

The formats are others': in-toto statements in DSSE envelopes in Sigstore bundles, attached as OCI referrers,
so that cosign and sigstore libraries read what runbake writes.
"""

from runbake.attestation.attach import Attached, attach, attached_to
from runbake.attestation.bundle import Sealed, bundle_of, opened_bundle
from runbake.attestation.keys import Signer, VerifyingKey, open_signer, read_verifying_key
from runbake.attestation.statement import Statement, Subject, parse_statement

__all__ = [
    "Attached",
    "Sealed",
    "Signer",
    "Statement",
    "Subject",
    "VerifyingKey",
    "attach",
    "attached_to",
    "bundle_of",
    "open_signer",
    "opened_bundle",
    "parse_statement",
    "read_verifying_key",
]
