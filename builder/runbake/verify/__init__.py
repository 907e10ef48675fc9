"""Is an image what it says, and who says so? Reads everything, believes nothing, writes nothing."""

from runbake.verify.policy import Policy
from runbake.verify.rebuilt import Rebuilt, rebuild_checks
from runbake.verify.record import Record, read_record
from runbake.verify.verdict import Check, Verdict
from runbake.verify.verify import verify

__all__ = [
    "Check",
    "Policy",
    "Rebuilt",
    "Record",
    "Verdict",
    "read_record",
    "rebuild_checks",
    "verify",
]
