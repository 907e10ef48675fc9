"""Effects in their order: blobs, manifests by digest, proof, and only then tags."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runbake.crew import Crew
from runbake.environment import plan_wheel_groups
from runbake.errors import ConfigError, EngineMissing, TagExists, TrackingError, Unproven
from runbake.image import (
    Blob,
    Digest,
    Image,
    PlatformImage,
    archive_written,
    blobs_of,
    check_archive,
    check_layout,
    engine_archive,
    layout_written,
)
from runbake.registry import ImageRef, Registry
from runbake.release.plan import Plan, PlatformPlan, mebibytes, stored_lock
from runbake.release.proving import Subject
from runbake.release.request import Doors, Request
from runbake.release.so_far import SoFar
from runbake.release.story import Step
from runbake.release.trees import interpreter_of
from runbake.runtime import Proof
from runbake.store import disk_full_is_named

PARALLEL_UPLOADS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What a push did: blobs sent with their bytes, and blobs that were there or mounted."""

    sent: int
    sent_bytes: int
    kept: int


def refuse_taken_tags(plan: Plan, image: Image, doors: Doors) -> None:
    """Fail before anything is sent when a tag points elsewhere and may not be moved.

    Raises:
        TagExists: names the tag and both digests.
    """
    repository = plan.request.repository
    if repository is None or plan.request.move_tag:
        return
    registry = doors.registry(repository.host)
    for tag in plan.tags:
        there = registry.resolve(repository.name, tag)
        if there not in (None, image.digest):
            raise TagExists(
                f"{repository.repository}:{tag} is {there}, not {image.digest}",
                hint="choose another --tag, or let it be moved with --move-tag",
            )


def push(image: Image, repository: ImageRef, doors: Doors, so_far: SoFar) -> Transfer:
    """Send what the registry lacks: blobs first, then manifests by digest; no tag is touched."""
    registry = doors.registry(repository.host)
    with doors.story.step("push") as step:
        blobs = blobs_of(image)
        counter = _Counter(step, sum(blob.size_bytes for blob, _ in blobs.values()))
        there: list[Digest] = []

        def sent(size_bytes: int) -> None:
            crew.check()
            counter.add(size_bytes)

        def send(item: tuple[Blob, str]) -> tuple[str, int]:
            blob, origin = item
            how = registry.push_blob(repository.name, blob, mount_from=origin, progress=sent)
            if how != "uploaded":
                counter.add(blob.size_bytes)
            there.append(blob.digest)
            so_far.note("push", f"{len(there)} of {len(blobs)} blobs are in {repository.repository}")
            return how, blob.size_bytes

        with Crew() as crew:
            done = crew.each(send, blobs.values(), threads=PARALLEL_UPLOADS)
        _push_manifests(image, repository, registry)
        so_far.note("push", f"the image is in {repository.repository}@{image.digest}")
        so_far.note("tag", "no tag was set")
        new = [size for how, size in done if how == "uploaded"]
        transfer = Transfer(sent=len(new), sent_bytes=sum(new), kept=len(done) - len(new))
        step.say(f"{transfer.sent} sent, {mebibytes(transfer.sent_bytes)}; {transfer.kept} already there")
    return transfer


class _Counter:
    """Adds up the progress of uploads in several threads."""

    def __init__(self, step: Step, total_bytes: int) -> None:
        self._step, self._total, self._done, self._lock = step, total_bytes, 0, threading.Lock()

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self._done += size_bytes
            self._step.progress(min(self._done, self._total), self._total)


def _push_manifests(image: Image, repository: ImageRef, registry: Registry) -> None:
    for platform in image.platforms:
        digest = str(platform.descriptor.digest)
        registry.push_manifest(repository.name, digest, platform.manifest, platform.manifest_type)
    if len(image.platforms) > 1:
        registry.push_manifest(repository.name, str(image.digest), image.body, image.media_type)


def check_outputs(request: Request) -> None:
    """Fail before any work where an output cannot be written.

    Raises:
        ConfigError: something else is there.
    """
    for path, check in ((request.layout, check_layout), (request.archive, check_archive)):
        if path is not None:
            with _output_is_named(path):
                check(path)


@contextmanager
def outputs_written(plan: Plan, image: Image, doors: Doors) -> Iterator[Image]:
    """Write the OCI layout and the archive that were asked for; they get their names if the block ends well.

    The answer is the image, read from what was written where that is possible.

    Raises:
        ConfigError: one cannot be written where it was asked for.
        DiskFull: the device under one is full.
    """
    repository = plan.request.repository
    name = f"{repository.repository}:{plan.tags[0]}" if repository else f"runbake:{plan.tags[0]}"
    written = image
    with ExitStack() as outputs:
        for path, kind, write in (
            (plan.request.archive, "archive", archive_written),
            (plan.request.layout, "layout", layout_written),
        ):
            if path is not None:
                with doors.story.step(kind) as step:
                    written = outputs.enter_context(_named_output(write(image, path, name=name), path))
                    step.say(f"{path}, docker load < it" if kind == "archive" else str(path))
        yield written


@contextmanager
def _named_output(writing: AbstractContextManager[Image], path: Path) -> Iterator[Image]:
    """The writing, its own failures named; those of the block pass as they are."""
    with _output_is_named(path):
        written = writing.__enter__()
    try:
        yield written
    except BaseException as failure:
        writing.__exit__(type(failure), failure, failure.__traceback__)
        raise
    with _output_is_named(path):
        writing.__exit__(None, None, None)


@contextmanager
def _output_is_named(path: Path) -> Iterator[None]:
    try:
        with disk_full_is_named(path, hint="free some space, or name another --output"):
            yield
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror or error}", hint="name another --output"
        ) from error


def prove_platforms(plan: Plan, image: Image, doors: Doors) -> tuple[Proof, ...]:
    """Prove each platform that an engine here runs: from the registry, else from the image's files.

    Raises:
        ProofFailed: a platform answers otherwise than MLflow.
        Unproven: a platform cannot be run here, that was not allowed, and there are tags to set.
    """
    proofs = []
    for platform_plan, platform in zip(plan.platforms, image.platforms, strict=True):
        why_not = _why_not_here(plan, platform.platform, doors)
        if not why_not:
            proofs.append(doors.prover().prove(_subject_of(plan, platform_plan, platform, doors)))
        elif plan.request.allow_unproven or not plan.request.prove or plan.request.repository is None:
            doors.story.warn(f"{platform.platform} is unproven: {why_not}")
        else:
            raise Unproven(
                f"{platform.platform} cannot be proved: {why_not}",
                hint="no tag and no --output was made: run again with --allow-unproven, or with an engine",
            )
    return tuple(proofs)


def _why_not_here(plan: Plan, platform: str, doors: Doors) -> str:
    if not plan.request.prove:
        return "--no-prove"
    try:
        engine = doors.prover().engine
    except EngineMissing as missing:
        return str(missing)
    runs = engine.platform
    return "" if platform.split("/")[:2] == runs.split("/") else f"the engine here runs {runs}"


def _subject_of(plan: Plan, planned: PlatformPlan, platform: PlatformImage, doors: Doors) -> Subject:
    return Subject(
        ref=plan.request.repository,
        digest=platform.descriptor.digest,
        platform=planned.base.platform,
        lock=planned.lock,
        flavor=plan.served.flavor,
        mlflow_version=plan.model.mlflow_version,
        interpreter=interpreter_of(plan, planned, doors) if plan.request.bytecode else None,
        archive=lambda tag: engine_archive(platform, tag),
    )


def tag(plan: Plan, image: Image, doors: Doors, so_far: SoFar) -> tuple[str, ...]:
    """Point the tags at the proven image; the answer are the references."""
    repository = plan.request.repository
    assert repository is not None  # noqa: S101 -- `carry_out` tags what it pushed
    registry = doors.registry(repository.host)
    with doors.story.step("tag") as step:
        # A tag may have appeared while the image was built and proved.
        refuse_taken_tags(plan, image, doors)
        for position, name in enumerate(plan.tags, start=1):
            registry.push_manifest(repository.name, name, image.body, image.media_type)
            so_far.note("tag", f"tags that point to it: {_named(plan.tags, position)}")
        step.say(", ".join(plan.tags))
    return tuple(f"{repository.repository}:{name}" for name in plan.tags)


def _named(tags: tuple[str, ...], done: int) -> str:
    missing = f"; not yet: {', '.join(tags[done:])}" if tags[done:] else ""
    return ", ".join(tags[:done]) + missing


def record(plan: Plan, image: Image, doors: Doors, so_far: SoFar) -> None:
    """Write on the run which image it became."""
    so_far.note("record", "only the tags on the run that name it are missing")
    repository = plan.request.repository
    assert repository is not None  # noqa: S101 -- `carry_out` records what it tagged
    reference = f"{repository.repository}@{image.digest}"
    # One tag for each image that the run became, and one that names the latest.
    key = f"runbake.image.{Digest.of(reference.encode()).hex[:12]}"
    with doors.story.step("record") as step:
        invocation = plan.request.invocation
        where = invocation.tags() if invocation else {}
        doors.tracking.record_image(plan.run.run_id, {**where, "runbake.image": reference, key: reference})
        step.say("runbake.image on the run")


def keep_locks(plan: Plan, doors: Doors, so_far: SoFar) -> tuple[PlatformPlan, ...]:
    """Store each new lock on the run, once; where another build was first, its lock is used.

    An artifact store that runbake may not write to stops no build: the warning says what is lost, and the
    platform's plan that its lock is not stored.
    """
    return tuple(
        platform if platform.stored else _keep_lock(plan, platform, doors, so_far)
        for platform in plan.platforms
    )


def _keep_lock(plan: Plan, platform: PlatformPlan, doors: Doors, so_far: SoFar) -> PlatformPlan:
    write = doors.tracking.replace_lock if plan.request.relock else doors.tracking.write_lock_once
    run_id, key = plan.run.run_id, platform.lock.key
    try:
        text = write(run_id, key, platform.lock.to_json())
    except TrackingError as error:
        doors.story.warn(f"the lock is not kept on the run, whose next build may choose others: {error}")
        return platform
    so_far.note("lock", f"the lock is on run {run_id}")
    lock = stored_lock(text, run_id, key)
    return replace(platform, lock=lock, groups=plan_wheel_groups(lock), stored=True)
