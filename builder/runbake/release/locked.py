"""A model beside the very wheels of its lock, on this machine: no image, no engine, nothing is pushed.

The environment is the image's own layers of wheels and runtime, unpacked into the store, and the Python is
that of the base image, run through the base's own loader; without a base a Python of this machine. So what
answers here is what the image would hold, and `containerize` finds its layers made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runbake.base import Interpreter, find_interpreter
from runbake.base.unpack import apply_layer
from runbake.errors import TrackingError
from runbake.image import Layer
from runbake.provenance import parse_label_file
from runbake.release.assemble import runtime_of
from runbake.release.plan import Plan, PlatformPlan, planned
from runbake.release.publish import keep_locks
from runbake.release.request import Doors, Request
from runbake.release.so_far import SoFar
from runbake.release.trees import Tree, provenance_of_platform, trees_of
from runbake_serving import contract

_RULES = "environment-1"
_OPT = "/opt/runbake"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedModel:
    """A run's model, ready to be asked here.

    Attributes:
        command: starts the runtime; its subcommand follows.
        environment: all of the environment it is to run in, but for HOME and TMPDIR.
        label_file: as the image's would be; without a base image its digest is "".
        provenance: the digest of that file.
    """

    run_id: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    label_file: Mapping[str, Any]
    provenance: str
    has_arrow: bool


@contextmanager
def locked_model(request: Request, doors: Doors, *, keep_lock: bool = False) -> Iterator[LockedModel]:
    """The model of a run in an environment made from its lock, for the time of the block.

    With `keep_lock` a new lock is stored on the run, so that `containerize` takes the same.

    Raises:
        RunbakeError: as the rooms that it visits say.
        TrackingError: the lock cannot be kept.
    """
    with planned(request, doors) as plan, doors.store.scratch() as scratch:
        if keep_lock:
            plan = _kept(plan, doors)
        (platform,) = plan.platforms
        provenance = provenance_of_platform(plan, platform)
        (scratch / "provenance.json").write_bytes(provenance.body)
        root = _environment(plan, platform, doors, scratch)
        python = _interpreter(plan, platform, doors)
        yield LockedModel(
            run_id=plan.run.run_id,
            # -S: no packages of the Python's own beside the lock's; -s: none of the user's.
            command=(*python.command, "-s", "-S", "-m", "runbake_serving"),
            environment={
                "LANG": "C.UTF-8",
                **_placed(runtime_of(platform.base, plan.served).env, root),
                **dict(python.environment),
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                contract.ENV_MODEL_ROOT: str(plan.model.root),
                contract.ENV_PROVENANCE: str(scratch / "provenance.json"),
            },
            label_file=parse_label_file(provenance.body),
            provenance=str(provenance.digest),
            has_arrow=any(wheel.name == "pyarrow" for wheel in platform.lock.wheels),
        )


def _kept(plan: Plan, doors: Doors) -> Plan:
    kept = replace(plan, platforms=keep_locks(plan, doors, SoFar()))
    if not all(platform.stored for platform in kept.platforms):
        raise TrackingError(
            f"the lock of run {plan.run.run_id} cannot be kept there",
            hint="leave out --record, or give this user the right to write the run's artifacts",
        )
    return kept


def _interpreter(plan: Plan, platform: PlatformPlan, doors: Doors) -> Interpreter:
    base = platform.base
    if not plan.request.base.text:
        return Interpreter(command=(base.facts.python_path,), version=base.facts.python_version)
    return find_interpreter(base, doors.registry(plan.base.host), doors.store.root, doors.host)


def _placed(env: tuple[tuple[str, str], ...], root: Path) -> dict[str, str]:
    """The image's variables, with the paths of its wheels and runtime where these lie here."""
    return {name: value.replace(f"{_OPT}/", f"{root}{_OPT}/") for name, value in env}


def _environment(plan: Plan, platform: PlatformPlan, doors: Doors, scratch: Path) -> Path:
    with doors.story.step("environment") as step:
        # The model's layer and the label file, which are the run's own, lie elsewhere.
        trees = trees_of(plan, platform, doors, scratch)[:-2]
        layers = [_layer(tree, doors) for tree in trees]
        named = json.dumps([_RULES, [str(layer.diff_id) for layer in layers]])

        def make(root: Path) -> None:
            for layer in layers:
                apply_layer(doors.store.blob_path(layer.blob.digest.hex), layer.diff_id, root)

        root = doors.store.environment(hashlib.sha256(named.encode()).hexdigest(), make)
        step.say(f"{len(platform.lock.wheels)} wheels, Python {platform.base.facts.python_version}, no image")
    return root


def _layer(tree: Tree, doors: Doors) -> Layer:
    return doors.store.layer(tree.recipe, tree.make, tree.codec, name=tree.name, comment=tree.comment)
