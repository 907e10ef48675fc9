"""AWS's refusals in words that help: by the code that AWS gives, whoever made the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runbake.errors import AwsError

_CREDENTIALS = "check AWS_PROFILE, AWS_ACCESS_KEY_ID or the role of this machine, and this machine's clock"
_RIGHTS = "the role needs what packer/iam/bake.json lists; a policy of the organisation may forbid it as well"
_QUOTA = "ask for a higher quota in the AWS console (Service Quotas), or take another --instance-type"

_HINTS = {
    "AuthFailure": _CREDENTIALS,
    "RequestExpired": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "UnauthorizedOperation": _RIGHTS,
    "AccessDenied": _RIGHTS,
    "VcpuLimitExceeded": _QUOTA,
    "InstanceLimitExceeded": _QUOTA,
    "InsufficientInstanceCapacity": "take another --subnet (another zone) or --instance-type",
    "Unsupported": "the zone has no such instance type: take another --subnet or --instance-type",
    "VPCIdNotSpecified": "the region has no default VPC: name a --subnet",
    "MissingInput": "the region has no default VPC: name a --subnet",
    "InvalidSubnetID.NotFound": "--subnet is not one of this region and account",
    "InvalidVpcID.NotFound": "--vpc is not one of this region and account",
    "InvalidAMIID.NotFound": "machine images belong to one region: is --source of this one?",
    "InvalidAMIName.Duplicate": "an AMI of that name is there; `--force` bakes under another one",
    "InvalidBlockDeviceMapping": "the source needs a larger --volume",
    "Client.InvalidKMSKey.InvalidState": "the role must be allowed to use --kms-key, which must be enabled",
    "InvalidKMSKey.InvalidState": "the role must be allowed to use --kms-key, which must be enabled",
    "OptInRequired": "the account must accept the terms of that source, or enable the region",
}


def hint_of(text: str) -> str:
    """What to try, by the first of AWS's codes in a text; "" for none that is known."""
    found = [(text.index(code), hint) for code, hint in _HINTS.items() if code in text]
    return min(found)[1] if found else ""


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Translate what AWS refuses of `what`.

    Raises:
        AwsError: AWS refuses, cannot be reached, or gives no credentials.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise AwsError(f"{what}: {error}", hint=hint_of(code)) from error
    except BotoCoreError as error:
        raise AwsError(f"{what}: {error}", hint="is --region right, and are there credentials?") from error
