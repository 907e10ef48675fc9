"""Requirements to a lock, in two passes: the model's first, then the runtime's own around it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runbake.environment.explain import error_of, lacks_upload_times
from runbake.environment.lock import Lock, LockedWheel
from runbake.environment.platforms import target_tags
from runbake.environment.pylock import wheels_of
from runbake.environment.requirements import requirements_of
from runbake.environment.uv import Uv, UvAnswer
from runbake.errors import LockError, NoWheel, Unresolvable

_log = logging.getLogger(__name__)

_KEY_RULES = 1
"""Raised when the same request would be locked in another way, so that stored locks are made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRequest:
    """What a lock is made for.

    `model_requirements` are the model's, already changed by its flavor; `model_constraints` the lines of its
    constraints.txt. `without` are distributions that stay out although a model requirement asks for them.
    Times are RFC 3339; "" means undated. `python` is "3.11", `platform` "linux/amd64",
    `uv_platform` what `uv_platform_of` gives.
    """

    model_requirements: tuple[str, ...]
    runtime_requirements: tuple[str, ...]
    python: str
    platform: str
    uv_platform: str
    model_as_of: str
    runtime_as_of: str
    model_constraints: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    python: str
    uv_platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolution:
    wheels: tuple[LockedWheel, ...]
    as_of: str  # "" when the index has no upload times


def lock_key(request: LockRequest) -> str:
    """The write-once key: 64 hex digits over everything asked for, but not the date asked as of.

    The date of the model's pass is not in it: the first lock made for a run is the run's lock.
    """
    document = {
        "rules": _KEY_RULES,
        "modelRequirements": request.model_requirements,
        "modelConstraints": request.model_constraints,
        "runtimeRequirements": request.runtime_requirements,
        "runtimeAsOf": request.runtime_as_of,
        "python": request.python,
        "platform": request.platform,
        "uvPlatform": request.uv_platform,
        # Only where there are any: locks that were stored before are as good as ever.
        **({"without": request.without} if request.without else {}),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def compile_lock(request: LockRequest, *, uv: Uv) -> Lock:
    """Lock every wheel of the image: the model's as of its date, then the runtime's, which must fit them.

    Raises:
        Unresolvable: the requirements contradict each other, the runtime's, or do not exist.
        NoWheel: a package has no wheel for the target.
        IndexUnreachable: the package index does not answer, or refuses.
        LockError: uv failed in another way.
    """
    target = _Target(python=request.python, uv_platform=request.uv_platform)
    asked = requirements_of(request.model_requirements, whose="the model")
    constraints = requirements_of(request.model_constraints, whose="the model's constraints")
    chosen = {canonicalize_name(Requirement(line).name) for line in (*asked, *constraints)}
    settled: dict[str, str] = {}
    while True:
        model = _resolve(
            asked,
            (*constraints, *(f"{name}=={version}" for name, version in settled.items())),
            request.model_as_of,
            target,
            uv,
            # Of several platforms one may lack a wheel: the message has to say which.
            doing=f"locking the model's requirements for {request.platform}, Python {request.python}",
            undated=tuple(settled),
            without=request.without,
        )
        try:
            runtime = _resolve_around(
                model.wheels,
                request.runtime_requirements,
                request.runtime_as_of,
                target,
                uv,
                whose="the serving runtime",
            )
            break
        except Unresolvable as error:
            # What the model did not choose itself gives way, each package once.
            free = error.pinned - chosen - settled.keys()
            more = _alone(request, target, uv, free) if free else {}
            if not more:
                raise
            _log.info("the runtime's versions are taken of %s", ", ".join(more))
            settled |= more
    return Lock(
        key=lock_key(request),
        platform=request.platform,
        python=request.python,
        uv_platform=request.uv_platform,
        model_requirements=asked,
        runtime_requirements=request.runtime_requirements,
        model_as_of=model.as_of,
        runtime_as_of=runtime.as_of,
        wheels=_union(model.wheels, runtime.wheels),
    )


def _alone(request: LockRequest, target: _Target, uv: Uv, names: frozenset[str]) -> dict[str, str]:
    """The versions of these packages that the runtime takes where no model is."""
    found = _resolve(
        requirements_of(request.runtime_requirements, whose="the serving runtime"),
        (),
        request.runtime_as_of,
        target,
        uv,
        doing="locking the serving runtime's requirements",
    )
    return {wheel.name: wheel.version for wheel in found.wheels if wheel.name in names}


def compile_extra(
    lock: Lock, requirements: tuple[str, ...], as_of: str, *, uv: Uv
) -> tuple[LockedWheel, ...]:
    """The wheels that these requirements add to the lock, sorted by name; what is locked stays as it is.

    Raises:
        Unresolvable: they do not fit the lock, or do not exist.
        NoWheel: one has no wheel for the lock's target.
        IndexUnreachable: the package index does not answer, or refuses.
    """
    target = _Target(python=lock.python, uv_platform=lock.uv_platform)
    found = _resolve_around(lock.wheels, requirements, as_of, target, uv, whose="the addition to the lock")
    locked = {wheel.name for wheel in lock.wheels}
    return tuple(wheel for wheel in found.wheels if wheel.name not in locked)


def _union(first: tuple[LockedWheel, ...], second: tuple[LockedWheel, ...]) -> tuple[LockedWheel, ...]:
    wheels = {wheel.name: wheel for wheel in second} | {wheel.name: wheel for wheel in first}
    return tuple(wheels[name] for name in sorted(wheels))


def _resolve_around(
    pinned: tuple[LockedWheel, ...],
    requirements: tuple[str, ...],
    as_of: str,
    target: _Target,
    uv: Uv,
    *,
    whose: str,
) -> _Resolution:
    asked = requirements_of(requirements, whose=whose)
    pins = tuple(f"{wheel.name}=={wheel.version}" for wheel in pinned)
    try:
        # A pin may be younger than `as_of`: the model may have been trained after the tool's release.
        return _resolve(
            asked,
            pins,
            as_of,
            target,
            uv,
            doing=f"locking {whose}'s requirements",
            undated=tuple(wheel.name for wheel in pinned),
        )
    except (Unresolvable, NoWheel) as error:
        raise _contradiction(error, asked, pins, whose) or error from error


def _contradiction(
    error: LockError, asked: tuple[str, ...], pins: tuple[str, ...], whose: str
) -> Unresolvable | None:
    said = str(error)
    theirs = [pin for pin in pins if re.search(rf"(?<![\w.\-]){re.escape(pin)}(?![\w.]*\w)", said)]
    ours = [line for line in asked if _mentions(said, Requirement(line).name)]
    if not theirs:
        return None
    found = Unresolvable(
        f"the model pins {', '.join(theirs)}; {whose} asks for {', '.join(ours) or 'other versions'}; "
        f"both cannot be\n{said}",
        hint="loosen the model's pip_requirements, or log the model again with releases that fit",
    )
    found.pinned = frozenset(canonicalize_name(Requirement(pin).name) for pin in theirs)
    return found


def _mentions(text: str, name: str) -> bool:
    return bool(re.search(rf"(?<![\w.\-]){re.escape(canonicalize_name(name))}(?![\w.\-]*\w)", text))


def _resolve(
    requirements: tuple[str, ...],
    constraints: tuple[str, ...],
    as_of: str,
    target: _Target,
    uv: Uv,
    *,
    doing: str,
    undated: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
) -> _Resolution:
    if not requirements:
        return _Resolution(wheels=(), as_of=as_of)
    answer = _compile(requirements, constraints, as_of, target, uv, undated, without)
    if answer.status != 0 and as_of and lacks_upload_times(answer):
        _log.warning(
            "%s: the package index does not say when its files were uploaded; locking without a date", doing
        )
        as_of = ""
        answer = _compile(requirements, constraints, as_of, target, uv, undated, without)
    if answer.status != 0:
        raise error_of(answer, doing=doing)
    tags = target_tags(target.uv_platform, target.python)
    return _Resolution(wheels=wheels_of(answer.stdout, tags), as_of=as_of)


def _compile(
    requirements: tuple[str, ...],
    constraints: tuple[str, ...],
    as_of: str,
    target: _Target,
    uv: Uv,
    undated: tuple[str, ...],
    without: tuple[str, ...],
) -> UvAnswer:
    dates = [f"--exclude-newer={as_of}", *(f"--exclude-newer-package={name}=false" for name in undated)]
    with tempfile.TemporaryDirectory(prefix="runbake-lock-") as directory:
        pins = Path(directory, "constraints.txt")
        pins.write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
        excludes = Path(directory, "excludes.txt")
        excludes.write_text("".join(f"{name}\n" for name in without), encoding="utf-8")
        return uv.run(
            "pip",
            "compile",
            "-",
            "--format=pylock.toml",
            "--no-header",
            "--no-sources",
            "--only-binary=:all:",
            f"--python={uv.python}",
            f"--python-platform={target.uv_platform}",
            f"--python-version={target.python}",
            f"--constraints={pins}",
            *((f"--excludes={excludes}",) if without else ()),
            *(dates if as_of else ()),
            stdin="".join(f"{line}\n" for line in requirements),
        )
