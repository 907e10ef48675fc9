"""Keys: what signs, and what signatures are checked with. Only those that cosign reads too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from runbake.aws import kms_signature, kms_signer
from runbake.errors import SigningError

if TYPE_CHECKING:
    # Public by securesystemslib's documentation; its package has no __all__.
    from securesystemslib.signer import CryptoSigner, Signature, SSlibKey  # type: ignore[attr-defined]

AWSKMS = "awskms:"
_SCHEMES = ("ecdsa-sha2-nistp256", "ed25519")
"""What every client of Sigstore bundles verifies; RSA comes in paddings that they disagree about."""

_COSIGN_KEY = b"ENCRYPTED SIGSTORE PRIVATE KEY"
_LARGEST_BYTES = 64 << 10


class Signer(Protocol):
    """Signs bytes; `public` is the key that they are verified with."""

    @property
    def public(self) -> VerifyingKey:
        """The public half."""

    def sign(self, data: bytes) -> Signature:
        """A signature over these bytes."""


class VerifyingKey:
    """A public key; `id` is its fingerprint, 64 hex digits."""

    def __init__(self, key: SSlibKey) -> None:
        self._key = key

    @property
    def id(self) -> str:
        """The fingerprint that signatures name it by."""
        return self._key.keyid

    @property
    def pem(self) -> str:
        """The key as PEM text, for `cosign --key`."""
        if self._key.scheme != "ed25519":
            return str(self._key.keyval["public"])
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        raw = bytes.fromhex(self._key.keyval["public"])
        made = Ed25519PublicKey.from_public_bytes(raw)
        return made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made that signature over these bytes."""
        from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
        from securesystemslib.signer import Signature  # type: ignore[attr-defined]

        try:
            # A signature's own key id is a hint that anybody may write: ours is put in its place.
            self._key.verify_signature(Signature(self._key.keyid, signature.hex()), data)
        except (UnverifiedSignatureError, VerificationError):
            return False
        return True


class _FileSigner:
    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    @property
    def public(self) -> VerifyingKey:
        return VerifyingKey(self._signer.public_key)

    def sign(self, data: bytes) -> Signature:
        return self._signer.sign(data)


class _KmsSigner:
    """Asks AWS for every signature; the private key never leaves it."""

    def __init__(self, key_id: str) -> None:
        self._signer, self._id = kms_signer(key_id), key_id
        _check_scheme(self._signer.public_key, f"{AWSKMS}{key_id}")

    @property
    def public(self) -> VerifyingKey:
        return VerifyingKey(self._signer.public_key)

    def sign(self, data: bytes) -> Signature:
        return kms_signature(self._signer, data, self._id)


def open_signer(key: str) -> Signer:
    """The signer of a private key: a PEM file (PKCS 8), or `awskms:` and a key's id, ARN or alias.

    Raises:
        SigningError: there is no such key, or it is of a kind that cosign does not verify.
    """
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    if key.startswith(AWSKMS):
        return _KmsSigner(key.removeprefix(AWSKMS))
    pem = _read(Path(key))
    if _COSIGN_KEY in pem:
        raise SigningError(
            f"{key} is encrypted in cosign's own format",
            hint="make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        )
    try:
        signer = CryptoSigner(load_pem_private_key(pem, None))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Not the key's text: the message may be logged.
        raise SigningError(
            f"{key} is no private key that runbake can use: {type(error).__name__}",
            hint="PEM, PKCS 8, without a password: openssl genpkey -algorithm ed25519 -out key.pem",
        ) from error
    _check_scheme(signer.public_key, key)
    return _FileSigner(signer)


def read_verifying_key(path: Path) -> VerifyingKey:
    """The public key of a PEM file.

    Raises:
        SigningError: it holds none, or one of a kind that cosign does not verify.
    """
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    try:
        key = SSlibKey.from_crypto(load_pem_public_key(_read(path)))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(
            f"{path} is no public key: {type(error).__name__}",
            hint="PEM, as `openssl pkey -in key.pem -pubout` prints it",
        ) from error
    _check_scheme(key, str(path))
    return VerifyingKey(key)


def _check_scheme(key: SSlibKey, name: str) -> None:
    if key.scheme not in _SCHEMES:
        raise SigningError(
            f"{name} is a key for {key.scheme}, which not every verifier reads",
            hint="use ECDSA on the curve P-256, or Ed25519",
        )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_BYTES)
    except OSError as error:
        raise SigningError(f"cannot read the key {path}: {error.strerror}") from error
