"""What ends a batch job, and with which status.

    BatchFailure            74  something must be changed first
    ├── BadSpec             78  the job cannot be read, or is not the one that the output was begun with
    ├── TooManyRejects      74
    └── Incomplete          75  stopped or parts missing: the same command continues

Messages name files, rows and columns, and never quote values.
"""

from __future__ import annotations

from typing import ClassVar

from runbake_serving import contract
from runbake_serving.errors import StartError


class BatchFailure(StartError):
    """Something must be changed before the job can go on; what is committed stays."""

    exit_code: ClassVar[int] = contract.BATCH_FAILED


class BadSpec(BatchFailure):
    """The job cannot be read, or is another one than the output was begun with."""

    exit_code = contract.BATCH_BAD_SPEC


class TooManyRejects(BatchFailure):
    """More rows were rejected than the job accepts."""


class Incomplete(BatchFailure):
    """Not all parts are there; the same command continues."""

    exit_code = contract.BATCH_INCOMPLETE
