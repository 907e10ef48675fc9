"""What is said about an image reaches its registry before any tag points to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbake.attestation import Signer, attach, bundle_of
from runbake.base import Base, DebianPackage, debian_packages, unpacked_root
from runbake.image import Descriptor, Digest, Image
from runbake.registry import ImageRef
from runbake.release.assemble import Assembled
from runbake.release.plan import Plan
from runbake.release.request import Doors
from runbake.release.statements import Circumstances, evaluation_statements, statements_of
from runbake.runtime import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Attester:
    """Who says it, and how: `signer` None leaves statements unsigned, which is told.

    `started_at` is when the command began; `now` tells the time when the image is finished. `data_digest` is
    given a dataset of the label file and answers the name and value of a digest of it, "" and "" for none.
    """

    signer: Signer | None
    builder_id: str
    invocation_id: str
    started_at: datetime
    now: Callable[[], datetime]
    data_digest: Callable[[Mapping[str, Any]], tuple[str, str]] = lambda _: ("", "")


def attest(
    plan: Plan, assembled: Assembled, proofs: tuple[Proof, ...], doors: Doors, attester: Attester
) -> tuple[str, ...]:
    """Attach every statement of this release; the answer are the predicate types, in their order.

    Raises:
        SigningError: the key's holder refuses; no tag points to the image then.
        RegistryError: the registry refuses.
    """
    repository = plan.request.repository
    assert repository is not None  # noqa: S101 -- statements are attached to what was pushed
    registry, manifests = doors.registry(repository.host), _manifests(assembled.image)
    datasets = json.loads(assembled.provenance[0].body)["data"]
    data = tuple(attester.data_digest(each) for each in datasets)
    finished = _utc(attester.now())
    built = Circumstances(
        builder_id=attester.builder_id,
        invocation_id=attester.invocation_id,
        started_at=_utc(attester.started_at),
        finished_at=finished,
        data=data,
    )
    kinds = []
    with doors.story.step("attest") as step:
        packages = tuple(_installed(planned.base, doors) for planned in plan.platforms)
        for statement, subjects in statements_of(plan, assembled, proofs, packages, built):
            bundle = bundle_of(statement, attester.signer) if attester.signer else None
            descriptors = tuple(manifests[subject] for subject in subjects)
            attach(statement, bundle, descriptors, repository=repository, registry=registry, created=finished)
            kinds.append(statement.predicate_type)
        for statement, subject, given in evaluation_statements(plan, assembled):
            # What lay on the run, whoever may write to MLflow put there: our key does not vouch for it.
            bundle = bundle_of(statement, attester.signer) if attester.signer and given else None
            attach(
                *(statement, bundle, (manifests[subject],)),
                repository=repository,
                registry=registry,
                created=finished,
            )
            kinds.append(statement.predicate_type)
        how = f"signed by {attester.signer.public.id[:12]}" if attester.signer else "UNSIGNED: no --sign-key"
        step.say(f"{len(kinds)} statements, {how}")
    return tuple(kinds)


def _installed(base: Base, doors: Doors) -> tuple[DebianPackage, ...]:
    registry = doors.registry(ImageRef.parse(base.asked).host)
    return debian_packages(unpacked_root(base, registry, doors.store.root))


def _manifests(image: Image) -> dict[Digest, Descriptor]:
    top = Descriptor(media_type=image.media_type, digest=image.digest, size_bytes=len(image.body))
    return {top.digest: top} | {
        platform.descriptor.digest: platform.descriptor for platform in image.platforms
    }


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
