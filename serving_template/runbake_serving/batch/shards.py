"""Which share of a job this runner has. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runbake_serving.batch.failures import BadSpec

_SHARD = re.compile(r"([0-9]{1,7})/([0-9]{1,7})")
INDEX, SIZE = "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Shard `index` of `count`, counted from 0: `str(shard_of_text(s)) == s`."""

    index: int
    count: int

    def __str__(self) -> str:
        """`I/N`."""
        return f"{self.index}/{self.count}"


def shard_of_text(text: str) -> Shard:
    """The shard `I/N`.

    Raises:
        BadSpec: not of this form, or I is not below N.
    """
    matched = _SHARD.fullmatch(text)
    if matched is None or int(matched[1]) >= int(matched[2]):
        raise BadSpec(f"{text[:40]!r} is not a shard", hint="I/N with I from 0 to N-1: 0/4, 1/4, 2/4, 3/4")
    return Shard(index=int(matched[1]), count=int(matched[2]))


def shard_of(given: str | None, environ: Mapping[str, str]) -> Shard | None:
    """The shard that was asked for, else that of an AWS Batch array job; None is the whole job.

    Source: AWS Batch, "Job environment variables".

    Raises:
        BadSpec: it cannot be read.
    """
    if given:
        return shard_of_text(given)
    if environ.get(INDEX) and environ.get(SIZE):
        return shard_of_text(f"{environ[INDEX]}/{environ[SIZE]}")
    if environ.get(INDEX):
        raise BadSpec(f"{INDEX} is set without {SIZE}", hint="--shard I/N")
    return None
