"""Which hosts are Amazon ECR, and what happens where there is no login."""

from __future__ import annotations

import pytest

from runbake.aws import ecr_region

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com", "eu-central-1"),
        (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        (f"{ACCOUNT}.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
        (f"{ACCOUNT}.dkr-ecr-fips.us-east-1.on.aws", "us-east-1"),
        (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        (f"{ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
        (f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        (f"{ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        (f"{ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
        ("public.ecr.aws", ""),
        ("docker.io", ""),
        ("localhost:5000", ""),
        ("12345.dkr.ecr.eu-central-1.amazonaws.com", ""),
        (f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com.evil.example", ""),
        (f"evil.{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com", ""),
        (f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com:443", ""),
        (f"{ACCOUNT}.dkr.ecr.a.b.amazonaws.com", ""),
        (f"{ACCOUNT}xdkr.ecr.eu-central-1.amazonaws.com", ""),
        (f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com\n", ""),
    ],
)
def test_region_of_a_host(host: str, region: str) -> None:
    """ECR's hosts in each partition give their region, everything else none."""
    assert ecr_region(host) == region
