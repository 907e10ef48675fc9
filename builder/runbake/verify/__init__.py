"""Is an image what it says, and who says so? Reads everything, believes nothing, writes nothing."""

from runbake.verify.policy import Policy
from runbake.verify.verdict import Check, Verdict
from runbake.verify.verify import verify

__all__ = ["Check", "Policy", "Verdict", "verify"]
