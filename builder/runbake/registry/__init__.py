"""The one door to registries: an image by reference, in and out."""

from runbake.registry.client import Manifest, Registry
from runbake.registry.credentials import Credentials, CredentialSource, Secret
from runbake.registry.reference import ImageRef, check_tag, is_loopback
from runbake.registry.referrers import push_referrer, referrers
from runbake.registry.transport import ATTEMPTS

__all__ = [
    "ATTEMPTS",
    "CredentialSource",
    "Credentials",
    "ImageRef",
    "Manifest",
    "Registry",
    "Secret",
    "check_tag",
    "is_loopback",
    "push_referrer",
    "referrers",
]
