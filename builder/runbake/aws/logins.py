"""The login to Amazon ECR, and signatures by KMS."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runbake.errors import RegistryAuthError, SigningError

if TYPE_CHECKING:
    # Public by securesystemslib's documentation; its package has no __all__.
    from securesystemslib.signer import AWSSigner, Signature  # type: ignore[attr-defined]

_ECR = re.compile(
    r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)"
    r"\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.(?:aws|amazonwebservices\.com\.cn)"
    r"|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
"""Classic, FIPS and dual-stack names, under the suffix of each partition that botocore knows."""


def ecr_region(host: str) -> str:
    """The region of an Amazon ECR registry, "" for any other host."""
    matched = _ECR.fullmatch(host)
    return matched["region"] if matched else ""


def ecr_password(host: str, region: str) -> str:
    """A password for the user `AWS` that holds for twelve hours.

    Raises:
        RegistryAuthError: boto3 is not installed, or AWS refuses.

    Source: Amazon ECR API, GetAuthorizationToken.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise RegistryAuthError(
            f"no credentials for {host}, and boto3 is not installed",
            hint="pip install 'runbake[aws]', or configure docker-credential-ecr-login",
        ) from error
    try:
        # A session of its own: boto3's default one may not be made by two threads at once.
        client = boto3.session.Session().client("ecr", region_name=region)
        answer = client.get_authorization_token()
    except (BotoCoreError, ClientError) as error:
        raise RegistryAuthError(
            f"AWS gave no login for {host}: {error}",
            hint="check AWS_PROFILE or the role of this machine; it needs ecr:GetAuthorizationToken",
        ) from error
    token = answer["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]


def kms_signer(key_id: str) -> AWSSigner:
    """The signer of an asymmetric KMS key: its id, ARN or alias.

    Raises:
        SigningError: boto3 is not installed, AWS refuses, or the key is not for signatures.
    """
    from securesystemslib.signer import AWSSigner  # type: ignore[attr-defined]

    with _kms_refusals(key_id):
        _uri, public_key = AWSSigner.import_(key_id)
        return AWSSigner(key_id, public_key)


def kms_signature(signer: AWSSigner, data: bytes, key_id: str) -> Signature:
    """A signature by KMS, which gets the data's digest only.

    Raises:
        SigningError: AWS refuses.
    """
    with _kms_refusals(key_id):
        return signer.sign(data)


@contextmanager
def _kms_refusals(key_id: str) -> Iterator[None]:
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise SigningError(
            f"boto3 is not installed, and KMS is asked to sign with {key_id}",
            hint="pip install 'runbake[aws]'",
        ) from error
    from securesystemslib.exceptions import UnsupportedAlgorithmError, UnsupportedLibraryError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise SigningError(
            f"KMS does not sign with {key_id}: {error}",
            hint="the role needs kms:GetPublicKey and kms:Sign; is AWS_REGION the key's?",
        ) from error
    except (UnsupportedAlgorithmError, UnsupportedLibraryError, KeyError) as error:
        raise SigningError(
            f"the KMS key {key_id} cannot be used: {error}",
            hint="its usage must be SIGN_VERIFY, its spec ECC_NIST_P256",
        ) from error
