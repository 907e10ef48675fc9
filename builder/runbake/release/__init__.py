"""The story of a release, in order.

    1. plan       resolve the run, fetch its model, read the base, lock the environment     (reads only)
    2. lock       keep a new lock on the run, write-once
    3. assemble   wheels, runtime, model and label file become layers and an image          (this machine)
    4. write      --output, under temporary names
    5. push       blobs, then manifests by digest; no tag yet
    6. prove      the container by digest answers the run's example as MLflow does
    7. attest     what is said about it is attached, signed where there is a key
    8. tag        and only then: names for --output, the tags, and the run's tag that names the image

Stopping anywhere leaves no tag on something unproven, and running again continues, because each step asks
the registry, the store or the run what is there already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runbake.errors import DigestMismatch
from runbake.image import Image
from runbake.release.assemble import Assembled, assemble
from runbake.release.attesting import Attester, attest
from runbake.release.locked import LockedModel, locked_model
from runbake.release.plan import Plan, PlatformPlan, planned
from runbake.release.proving import Prover, Subject, prove_reference, subject_of
from runbake.release.publish import (
    Transfer,
    check_outputs,
    keep_locks,
    outputs_written,
    prove_platforms,
    push,
    record,
    refuse_taken_tags,
    tag,
)
from runbake.release.rebuild import request_again
from runbake.release.request import Doors, Request
from runbake.release.so_far import SoFar
from runbake.release.story import Step, Story
from runbake.runtime import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What came of a release. `transfer` is None and `tags` empty when nothing was pushed."""

    plan: Plan
    assembled: Assembled
    transfer: Transfer | None
    proofs: tuple[Proof, ...]
    tags: tuple[str, ...]

    @property
    def reference(self) -> str:
        """The image by digest: with its repository, or the bare digest when nothing was pushed."""
        repository = self.plan.request.repository
        digest = self.assembled.image.digest
        return f"{repository.repository}@{digest}" if repository else str(digest)


def carry_out(plan: Plan, doors: Doors) -> Release:
    """Do what the plan says, in the order that this module tells.

    Raises:
        RunbakeError: as the rooms that it visits say; its notes are what was done by then.
    """
    so_far = SoFar()
    with so_far.told():
        return _carry_out(plan, doors, so_far)


def _carry_out(plan: Plan, doors: Doors, so_far: SoFar) -> Release:
    plan = replace(plan, platforms=keep_locks(plan, doors, so_far))
    assembled = assemble(plan, doors)
    try:
        transfer, proofs = _delivered(plan, assembled.image, doors, so_far)
    except DigestMismatch:
        if not _healed(plan, assembled.image, doors):
            raise
        transfer, proofs = _delivered(plan, assembled.image, doors, so_far)
    tags: tuple[str, ...] = ()
    if plan.request.repository is not None:
        if doors.attester is not None:
            attest(plan, assembled, proofs, doors, doors.attester)
        tags = tag(plan, assembled.image, doors, so_far)
        record(plan, assembled.image, doors, so_far)
    return Release(plan=plan, assembled=assembled, transfer=transfer, proofs=proofs, tags=tags)


def _delivered(
    plan: Plan, image: Image, doors: Doors, so_far: SoFar
) -> tuple[Transfer | None, tuple[Proof, ...]]:
    """Written, pushed and proven; no tag points to it yet."""
    repository, transfer = plan.request.repository, None
    with outputs_written(plan, image, doors) as written:
        if repository is not None:
            refuse_taken_tags(plan, image, doors)
            transfer = push(image, repository, doors, so_far)
        proofs = prove_platforms(plan, written, doors)
    return transfer, proofs


def _healed(plan: Plan, image: Image, doors: Doors) -> bool:
    """Make again what is damaged in the cache; False where nothing is."""
    blobs = {layer.blob.digest.hex for platform in image.platforms for layer in platform.layers}
    damaged = doors.store.forget_damaged(sorted(blobs))
    if damaged:
        doors.story.warn(f"{len(damaged)} layers in the cache are damaged, and are made again")
        # The same recipes give the same digests, and so the blobs under the same names.
        assemble(plan, doors)
    return bool(damaged)


__all__ = [
    "Assembled",
    "Attester",
    "Doors",
    "LockedModel",
    "Plan",
    "PlatformPlan",
    "Prover",
    "Release",
    "Request",
    "Step",
    "Story",
    "Subject",
    "assemble",
    "carry_out",
    "check_outputs",
    "locked_model",
    "planned",
    "prove_reference",
    "request_again",
    "subject_of",
]
