"""The plan of a release: everything that is decided before anything is written outside this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from runbake import flavors
from runbake.base import Base, base_here, check_base, read_base
from runbake.crew import Crew
from runbake.environment import (
    Lock,
    LockRequest,
    WheelGroup,
    compile_lock,
    find_python,
    lock_key,
    plan_wheel_groups,
    uv_platform_of,
)
from runbake.errors import (
    BaseImageError,
    ConfigError,
    LockError,
    ManifestNotFound,
    NotEvaluated,
    PythonMismatch,
    UnsafeFormat,
)
from runbake.flavors import Served
from runbake.image import STORED, Packed
from runbake.provenance import label, model_files_of, rfc3339
from runbake.redaction import redacted
from runbake.registry import ImageRef
from runbake.release.base_name import how_to_build
from runbake.release.evaluated import Evaluated, check_passed, evaluated_of, fitting
from runbake.release.model_layer import ArrivingLayer, model_codec
from runbake.release.request import Doors, Request
from runbake.tracking import FetchedModel, ModelDescription, PromotedRun, Promotion
from runbake_serving import contract

NO_IMAGE = ImageRef.parse("localhost/none")
"""The base of a plan that is made with a Python of this machine, and never pushed."""

_LATEST = {
    "promoted_at": "the latest by the time of its promotion",
    "end_time": "the latest by its end, as its promotion has no time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformPlan:
    """One platform's base and lock, and the layers that its wheels make; `stored` on the run or new."""

    base: Base
    lock: Lock
    groups: tuple[WheelGroup, ...]
    stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a release will do; the dry run prints it and the real run obeys it.

    `model_packed` has the digests of the model's layer where they were taken while it arrived. `evaluations`
    are those of each platform's lock and these files, in the order of the platforms.
    """

    request: Request
    run: PromotedRun
    model: FetchedModel
    model_packed: Packed | None
    served: Served
    base: ImageRef
    platforms: tuple[PlatformPlan, ...]
    created: str
    evaluations: tuple[Evaluated | None, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that the image gets once it is proven."""
        return self.request.tags or (f"run-{self.run.run_id[:12]}",)

    def to_json(self) -> str:
        """The plan as one JSON document."""
        repository = self.request.repository
        document = {
            "run": self.run.run_id,
            "model": redacted(self.run.model_uri),
            "promotion": {"how": self.run.promotion.how, "detail": self.run.promotion.detail},
            "flavor": self.served.flavor,
            "modelFormat": self.served.format,
            "trustedTypes": list(self.served.trusted_types),
            "format": self.request.image_format,
            "created": self.created,
            "repository": repository.repository if repository else None,
            "tags": list(self.tags) if repository else [],
            "outputs": [str(path) for path in (self.request.layout, self.request.archive) if path],
            "prove": self.request.prove,
            "evaluations": [
                {"verdict": one.verdict, "at": one.at, "named": one.named} if one else None
                for one in self.evaluations
            ],
            "platforms": [
                {
                    "platform": platform.base.platform,
                    "base": f"{self.base.repository}@{platform.base.digest}",
                    "python": platform.base.facts.python_version,
                    "lock": platform.lock.digest,
                    "lockStoredOnRun": platform.stored,
                    "layers": {
                        group.name: [f"{wheel.name}=={wheel.version}" for wheel in group.wheels]
                        for group in platform.groups
                    },
                }
                for platform in self.platforms
            ],
        }
        return json.dumps(document, indent=1, ensure_ascii=False)


@contextmanager
def planned(request: Request, doors: Doors) -> Iterator[Plan]:
    """Read the run, its model, the base and the index, and decide; the model's files live until the end.

    A cache that is larger than its limit is pruned then.

    Raises:
        RunbakeError: as the rooms that it visits say.
    """
    with doors.store.scratch() as scratch:
        run = _resolve(request, doors)
        yield _decided(request, run, scratch / "model", doors)
    doors.store.prune()


def _decided(request: Request, run: PromotedRun, destination: Path, doors: Doors) -> Plan:
    """The plan; the model's files come beside the decisions, which need the smallest of them only."""
    description = doors.tracking.describe_model(run)
    served = _served(request, description)
    with Crew() as crew:
        fetching = crew.start(lambda: _fetch(request, run, description, served, destination, doors, crew))
        minor = minor_of(description.python_version)
        base, bases = _bases_of(request, minor, doors)
        platforms = tuple(_plan_platform(request, run, served, description, read, doors) for read in bases)
        model, packed = fetching.result()
    flavors.by_name(served.flavor).examine(model)
    evaluations = _evaluations(request, run, model, platforms, doors)
    return Plan(
        request=request,
        run=run,
        model=model,
        model_packed=packed,
        served=served,
        base=base,
        platforms=platforms,
        created=request.created or rfc3339(run.end_time_ms),
        evaluations=evaluations,
    )


def _evaluations(
    request: Request,
    run: PromotedRun,
    model: FetchedModel,
    platforms: tuple[PlatformPlan, ...],
    doors: Doors,
) -> tuple[Evaluated | None, ...]:
    """What was evaluated of this model with each platform's lock."""
    if request.repository is None and not (request.evaluations or request.require_evaluation):
        return tuple(None for _ in platforms)
    files = model_files_of({"model": {"files": [asdict(file) for file in model.files]}})
    given = [evaluated_of(text, named=name, given=True) for name, text in request.evaluations]
    found = []
    for platform in platforms:
        lock = platform.lock.digest
        told = given or _recorded(run.run_id, lock, doors)
        about = fitting(told, lock=lock, model_files=files)
        if request.require_evaluation:
            check_passed(about, platform=platform.base.platform, lock=lock, run_id=run.run_id)
        found.append(about)
    if strangers := [one.named for one in given if one not in found]:
        raise NotEvaluated(
            f"{', '.join(strangers)}: about other model files or another lock, or older than another one",
            hint="evaluate this very run, with the same --base and --with",
        )
    if any(found):
        with doors.story.step("evaluation") as step:
            step.say("; ".join(f"{one.verdict}, of {one.at[:19]}" for one in found if one))
    return tuple(found)


def _recorded(run_id: str, lock: str, doors: Doors) -> list[Evaluated]:
    """The evaluation that lies on the run, of this lock."""
    text = doors.tracking.read_evaluation(run_id, lock.removeprefix("sha256:"))
    return [evaluated_of(text, named="the run's evaluation", given=False)] if text is not None else []


def _served(request: Request, description: ModelDescription) -> Served:
    served = flavors.serve(description, trusted=request.trusted_types)
    if request.require_safe_format and served.format != "safe":
        raise UnsafeFormat(
            f"the model is {served.format}: loading it ({served.flavor}) runs code that is in its files",
            hint="log it in a safe format (scikit-learn: serialization_format='skops'), "
            "or leave out --require-safe-format",
        )
    if request.dataframe_path:
        always = (contract.ENV_DATAFRAME_PATH, "always")
        served = replace(served, environment=(*served.environment, always))
    return served


def _resolve(request: Request, doors: Doors) -> PromotedRun:
    with doors.story.step("run") as step:
        run = doors.tracking.fetch_promoted_run(
            request.run, model_name=request.model_name, allow_unpromoted=request.allow_unpromoted
        )
        version = f"{run.registered_name}/{run.registered_version}, " if run.registered_name else ""
        step.say(f"{version}run {run.run_id[:12]} {label(run.run_name)}, {_promoted(run.promotion)}")
    return run


def _promoted(promotion: Promotion) -> str:
    told = "not promoted" if promotion.how == "unpromoted" else promotion.detail
    return f"{told}, {_LATEST[promotion.ordered_by]}" if promotion.ordered_by else told


def _fetch(
    request: Request,
    run: PromotedRun,
    description: ModelDescription,
    served: Served,
    destination: Path,
    doors: Doors,
    crew: Crew,
) -> tuple[FetchedModel, Packed | None]:
    """The model, and the digests of its layer where that is stored as it arrives."""
    arriving = ArrivingLayer(run.files) if model_codec(request) == STORED else None
    with doors.story.step("model") as step:

        def progress(done_bytes: int, total_bytes: int) -> None:
            crew.check()
            step.progress(done_bytes, total_bytes)

        model = doors.tracking.fetch_model(
            run,
            destination,
            described=description,
            progress=progress,
            arrived=arriving.arrived if arriving else None,
        )
        size = sum(file.size_bytes for file in model.files)
        step.say(
            f"{len(model.files)} files, {mebibytes(size)}, MLflow {model.mlflow_version}, "
            f"{_described(served)}"
        )
        return model, arriving.finished(model.root) if arriving else None


def _described(served: Served) -> str:
    runs = "safe to load" if served.format == "safe" else "executable: loading it runs code that is in it"
    return f"{served.flavor}, {runs}"


def minor_of(python_version: str) -> str:
    """The version that decides about bases and wheels: "3.11" of "3.11.7"."""
    return ".".join(python_version.split(".")[:2])


def _bases_of(request: Request, minor: str, doors: Doors) -> tuple[ImageRef, tuple[Base, ...]]:
    if request.base.text:
        base = request.base.for_python(minor)
        return base, _read_bases(base, minor, request, doors)
    python = find_python(doors.uv, minor)
    if python is None:
        raise PythonMismatch(
            f"the model was logged with Python {minor}, and there is none on this machine",
            hint="name a base image that has it (--base, RUNBAKE_BASE; `runbake base build` makes one), "
            f"or install Python {minor}",
        )
    return NO_IMAGE, (base_here(python, doors.host),)


def _read_bases(base: ImageRef, minor: str, request: Request, doors: Doors) -> tuple[Base, ...]:
    with doors.story.step("base") as step:
        if request.pinned:
            bases = tuple(
                found
                for pinned in request.pinned
                for found in _found_bases(
                    replace(base, tag="", digest=pinned.base), minor, (pinned.platform,), doors
                )
            )
        else:
            bases = _found_bases(base, minor, request.platforms, doors)
        for found in bases:
            check_base(found, minor, remedy=_remedy(base, minor))
        step.say(f"{base.name}@{bases[0].digest[:19]}…, Python {bases[0].facts.python_version}")
    return bases


def _found_bases(base: ImageRef, minor: str, platforms: Iterable[str], doors: Doors) -> tuple[Base, ...]:
    reference = str(base.digest or base.tag or "latest")
    try:
        return read_base(
            doors.registry(base.host), base.name, reference, platforms, doors.store.root, asked=str(base)
        )
    except ManifestNotFound as error:
        raise BaseImageError(
            f"there is no base image {base} for the model's Python {minor}", hint=_remedy(base, minor)
        ) from error


def _remedy(base: ImageRef, minor: str) -> str:
    return f"name another with --base, or make one: {how_to_build(base, minor)}"


def _plan_platform(
    request: Request, run: PromotedRun, served: Served, model: ModelDescription, base: Base, doors: Doors
) -> PlatformPlan:
    as_of = request.lock_date or rfc3339(run.end_time_ms)
    wanted = LockRequest(
        model_requirements=served.requirements,
        model_constraints=model.constraints,
        without=served.without,
        runtime_requirements=runtime_requirements(request.additions),
        python=minor_of(model.python_version),
        platform=base.platform,
        uv_platform=uv_platform_of(base.platform, base.facts.glibc),
        model_as_of=as_of,
        runtime_as_of=contract.RUNTIME_LOCK_DATE,
    )
    with doors.story.step("lock") as step:
        pinned = next((each.lock for each in request.pinned if each.platform == base.platform), None)
        lock, stored = (pinned, True) if pinned else _lock(request, run, wanted, doors)
        origin = "as given" if pinned else "from the run" if stored else f"as of {as_of}"
        step.say(f"{base.platform}: {len(lock.wheels)} wheels, {origin}")
    return PlatformPlan(base=base, lock=lock, groups=plan_wheel_groups(lock), stored=stored)


def runtime_requirements(additions: Iterable[str]) -> tuple[str, ...]:
    """What the runtime needs with these additions, named as in `contract.ADDITIONS`; sorted."""
    added = [line for name in additions for line in contract.ADDITIONS[name]]
    return tuple(sorted({*contract.RUNTIME_REQUIREMENTS, *added}))


def _lock(request: Request, run: PromotedRun, wanted: LockRequest, doors: Doors) -> tuple[Lock, bool]:
    key = lock_key(wanted)
    text = None if request.relock else doors.tracking.read_lock(run.run_id, key)
    if text is None:
        return compile_lock(wanted, uv=doors.uv), False
    lock = stored_lock(text, run.run_id, key)
    if request.lock_date and lock.model_as_of != request.lock_date:
        raise ConfigError(
            f"run {run.run_id} has a lock as of {lock.model_as_of or 'no date'}, not {request.lock_date}",
            hint="leave out --lock-date to use it, or replace it with --relock",
        )
    return lock, True


def stored_lock(text: str, run_id: str, key: str) -> Lock:
    """The lock that is stored on a run under this key.

    Raises:
        LockError: the text is none, or one for something else.
    """
    try:
        lock = Lock.from_json(text)
    except ValueError as error:
        raise LockError(
            f"the lock stored on run {run_id} cannot be read: {error}", hint="make a new one with --relock"
        ) from error
    if lock.key != key:
        raise LockError(
            f"the lock stored on run {run_id} under {key[:12]} was made for another key: {lock.key[:12]!r}",
            hint="somebody may have written it by hand; make a new one with --relock",
        )
    return lock


def mebibytes(size: int) -> str:
    """A size for people."""
    return f"{size / (1 << 20):.1f} MiB"
