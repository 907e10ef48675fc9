"""The one door to AWS: the login to Amazon ECR, signatures by KMS, machine images of EC2."""

from runbake.aws.ec2 import Ec2, MachineImage, NewestImage, Tagged
from runbake.aws.logins import ecr_password, ecr_region, kms_signature, kms_signer
from runbake.aws.refusals import hint_of

__all__ = [
    "Ec2",
    "MachineImage",
    "NewestImage",
    "Tagged",
    "ecr_password",
    "ecr_region",
    "hint_of",
    "kms_signature",
    "kms_signer",
]
