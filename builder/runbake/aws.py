"""The one door to AWS: today, the login to Amazon ECR."""

from __future__ import annotations

import base64
import re

from runbake.errors import RegistryAuthError

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
