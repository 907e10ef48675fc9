"""The one door to AWS: logins to Amazon ECR, signatures by KMS, EC2's images and machines, objects of S3."""

from runbake.aws.ec2 import Ec2, MachineImage, NewestImage, Tagged
from runbake.aws.logins import ecr_password, ecr_region, kms_signature, kms_signer
from runbake.aws.machines import Machine, Machines
from runbake.aws.objects import chunks_of_object, read_object
from runbake.aws.refusals import hint_of

__all__ = [
    "Ec2",
    "Machine",
    "MachineImage",
    "Machines",
    "NewestImage",
    "Tagged",
    "chunks_of_object",
    "ecr_password",
    "ecr_region",
    "hint_of",
    "kms_signature",
    "kms_signer",
    "read_object",
]
