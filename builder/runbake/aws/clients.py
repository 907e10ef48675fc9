"""boto3's clients, made one way."""

from __future__ import annotations

from typing import Any

from runbake.aws.refusals import refusals
from runbake.errors import AwsError


def client_of(service: str, region: str) -> Any:
    """A client of the service ("ec2", "s3"); "" is the region of AWS's own configuration.

    Raises:
        AwsError: boto3 is not installed, or no region is known.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise AwsError(
            "boto3 is not installed, and AWS is asked", hint="pip install 'runbake[aws]'"
        ) from error
    retries = {"mode": "standard", "total_max_attempts": 4}
    config = Config(connect_timeout=10, read_timeout=60, retries=retries)
    with refusals(f"{service.upper()} in {region}"):
        # A session of its own: boto3's default one may not be made by two threads at once.
        return boto3.session.Session().client(service, region_name=region or None, config=config)
