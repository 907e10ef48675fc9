"""What a proof asks, made from the lock: for an image just pushed, or for one that was pushed long ago."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from runbake import flavors
from runbake.base import Interpreter
from runbake.crew import Crew
from runbake.environment import (
    Lock,
    RemotePython,
    Uv,
    WheelGroup,
    bytecode_id,
    compile_bytecode,
    compile_extra,
    entries_of,
    install,
    recipe_of,
)
from runbake.errors import TraceError, Unproven
from runbake.image import STORED, Blob, Digest, FileEntry
from runbake.published import Published, read_published
from runbake.registry import ImageRef, Registry
from runbake.release.story import Story
from runbake.runtime import REFERENCE_ROOT, Engine, EngineImage, Proof, Question, prove
from runbake.store import Store
from runbake_serving import contract

_SITE = contract.SITE_PACKAGES.lstrip("/") + "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An image to prove, as its label file or its plan describes it.

    It is where `ref` says, or where that is None, in the files that `archive` reads: given a tag, it answers
    with a tar for the engine. `interpreter` compiles the reference's files, so that MLflow starts faster;
    None leaves them as they are.
    """

    ref: ImageRef | None
    digest: Digest
    platform: str
    lock: Lock
    flavor: str
    mlflow_version: str
    interpreter: Interpreter | RemotePython | None = None
    archive: Callable[[str], Iterator[bytes]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """The outside systems that a proof needs."""

    engine: Engine
    engine_auth: Callable[[str], Mapping[str, str] | None]
    uv: Uv
    store: Store
    story: Story

    def prove(self, subject: Subject) -> Proof:
        """Bring the image into the engine and compare its answer with mlflow-skinny's beside the same lock.

        What was not in the engine before is not there afterwards; if this process is killed, the next proof
        with this cache removes what it made.

        Raises:
            ProofFailed: the answers differ, or there is none.
            EngineError: the engine cannot pull or run it.
            LockError: mlflow-skinny of the model's version does not fit the lock.
        """
        with self.story.step("prove") as step, self.store.scratch() as scratch, self.store.marked() as mark:
            # Before anything is brought: a killed proof may have left a server that runs.
            with self.store.left_marks() as left:
                self.engine.sweep(left)
            with Crew() as crew:
                preparing = crew.start(lambda: self._question(subject, scratch))
                with self._brought(subject, mark) as image:
                    proof = prove(self.engine, image, subject.platform, preparing.result())
            step.say(f"{subject.platform}: {_described(proof)}")
        return proof

    def _brought(self, subject: Subject, mark: str) -> AbstractContextManager[EngineImage]:
        if subject.ref is None:
            assert subject.archive is not None  # noqa: S101 -- a subject is in a registry or in files
            return self.engine.loaded(subject.archive, str(subject.digest), mark=mark)
        auth = self.engine_auth(subject.ref.host)
        return self.engine.pulled(subject.ref.repository, subject.digest, auth, mark=mark)

    def _question(self, subject: Subject, scratch: Path) -> Question:
        return Question(
            tolerance=flavors.by_name(subject.flavor).tolerance, reference=self._reference(subject, scratch)
        )

    def _reference(self, subject: Subject, scratch: Path) -> Blob:
        wanted = (f"mlflow-skinny=={subject.mlflow_version}", "numpy", "pandas")
        wheels = compile_extra(subject.lock, wanted, _as_of(subject.lock), uv=self.uv)
        python = subject.interpreter

        def make() -> tuple[FileEntry, ...]:
            tree = install(wheels, lock=subject.lock, directory=scratch / "reference", uv=self.uv)
            entries = tuple(
                replace(entry, path=f"{REFERENCE_ROOT}/{entry.path.removeprefix(_SITE)}")
                for entry in entries_of(tree, wheels, interpreter="/usr/bin/python3")
            )
            return compile_bytecode(entries, python, scratch / "bytecode") if python else entries

        group = WheelGroup(name="reference", wheels=wheels)
        recipe = recipe_of(
            group, interpreter=REFERENCE_ROOT, bytecode=bytecode_id(python.version) if python else ""
        )
        return self.store.layer(recipe, make, STORED, name="reference", comment="reference").blob


def _as_of(lock: Lock) -> str:
    # The model may have been logged by an MLflow that is younger than this tool; "" is undated.
    return max(lock.runtime_as_of, lock.model_as_of) if lock.runtime_as_of and lock.model_as_of else ""


def subject_of(published: Published) -> Subject:
    """An image that is in a registry, as its own label file describes it.

    Raises:
        TraceError: the label file lacks what a proof needs; whoever can push there may have written it.
    """
    try:
        model, environment = published.label_file["model"], published.label_file["environment"]
        lock = {key: value for key, value in environment["lock"].items() if key != "digest"}
        return Subject(
            ref=published.ref,
            digest=published.digest,
            platform=published.platform,
            lock=Lock.from_json(json.dumps(lock)),
            flavor=str(model["flavor"]),
            mlflow_version=str(model["mlflowVersion"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TraceError(f"the label file of {published.ref} cannot be used: {error!r}"[:500]) from error


def prove_reference(ref: ImageRef, registry: Registry, prover: Prover) -> tuple[Proof, Digest]:
    """Prove an image that is in a registry, on the platform of this engine.

    Raises:
        TraceError: it was not made by runbake.
        Unproven: it is for another platform than this engine's.
        ProofFailed: it answers otherwise than MLflow.
    """
    with prover.story.step("read") as step:
        runs = prover.engine.platform
        published = read_published(ref, registry, platform=runs)
        subject = subject_of(published)
        if published.platform != runs:
            raise Unproven(
                f"{ref} is for {published.platform}, and the engine here runs {runs}",
                hint=f"prove it on a machine with {published.platform}",
            )
        step.say(f"{published.digest[:19]}…, {published.platform}")
    return prover.prove(subject), published.digest


def _described(proof: Proof) -> str:
    ready = f"ready after {proof.ready_s:.1f} s"
    if proof.kind == "readiness":
        return f"{ready}, nothing to ask"
    what = "the run's example" if proof.kind == "example" else "a row made from the signature"
    return f"{what} answered as {proof.reference}; {ready}"
