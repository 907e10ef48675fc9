"""What the layers on top of the base hold: wheels, runtime, model, label file; made only when needed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import runbake_serving
from runbake.base import Base, Interpreter, find_interpreter
from runbake.environment import (
    Installed,
    RemotePython,
    WheelGroup,
    bytecode_id,
    compile_bytecode,
    entries_of,
    install,
    recipe_of,
)
from runbake.errors import BytecodeUnavailable, EngineMissing
from runbake.flavors import Unpacked
from runbake.image import GZIP, STORED, Codec, Digest, FileEntry, Packed, canonical_json
from runbake.provenance import BaseFacts, Provenance, provenance_of
from runbake.registry import ImageRef
from runbake.release.model_layer import model_codec, model_entries
from runbake.release.plan import Plan, PlatformPlan
from runbake.release.proving import Prover
from runbake.release.request import Doors
from runbake.release.unpacked import unpacked_of, with_unpacked
from runbake.runtime import EnginePython
from runbake_serving import contract

RECIPE = 1
"""Counts up whenever the same inputs would give other bytes: a changed rule of trees, tar or bytecode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of one layer, not made before they are needed.

    `recipe` is a hash of everything that the layer's bytes depend on, "" for a layer that is read from its
    files each time; `packed` has that layer's digests where they are known already.
    """

    name: str
    comment: str
    recipe: str
    codec: Codec
    make: Callable[[], tuple[FileEntry, ...]]
    packed: Packed | None = None


def _recipe(*parts: object) -> str:
    return hashlib.sha256(canonical_json([RECIPE, *parts])).hexdigest()


def trees_of(plan: Plan, platform: PlatformPlan, doors: Doors, scratch: Path) -> tuple[Tree, ...]:
    """Every layer on top of the base, in order: wheels, runtime, model, label file.

    `scratch` holds installed wheels for as long as the trees are used.
    """
    provenance = provenance_of_platform(plan, platform)
    label_file = FileEntry.of_bytes(contract.PROVENANCE_FILE.lstrip("/"), provenance.body)
    workshop = Workshop(plan, platform, doors, scratch / platform.base.platform.replace("/", "-"))
    return (
        *(_wheel_tree(workshop, group) for group in platform.groups),
        _runtime_tree(workshop),
        _model_tree(plan),
        Tree(name="provenance", comment="label file", recipe="", codec=STORED, make=lambda: (label_file,)),
    )


class Workshop:
    """Where one platform's wheels are installed and compiled: all that the store lacks, in one call of uv."""

    def __init__(self, plan: Plan, platform: PlatformPlan, doors: Doors, scratch: Path) -> None:
        self.base = platform.base
        self._plan, self._platform, self._doors, self._scratch = plan, platform, doors, scratch
        self._mutex = threading.Lock()
        self._trees: dict[str, Installed] = {}
        self._interpreter: Interpreter | RemotePython | None = None

    @property
    def bytecode(self) -> str:
        """What decides the bytes of compiled files, "" when none are wanted."""
        return bytecode_id(self.base.facts.python_version) if self._plan.request.bytecode else ""

    def recipe(self, group: WheelGroup) -> str:
        """The recipe of a group's layer."""
        files = recipe_of(
            group,
            interpreter=self.base.facts.python_path,
            bytecode=self.bytecode,
            whole=self._plan.request.whole_wheels,
        )
        unpacked = [asdict(one) for one in self._unpacked_of(group)]
        return _recipe("wheels", files, GZIP.id, *unpacked)

    def _unpacked_of(self, group: WheelGroup) -> tuple[Unpacked, ...]:
        return unpacked_of(group.wheels, self._plan.served.unpacked)

    def entries_of_group(self, group: WheelGroup) -> tuple[FileEntry, ...]:
        """The files of a group's layer."""
        entries = entries_of(
            self._tree_of(group),
            group.wheels,
            interpreter=self.base.facts.python_path,
            whole=self._plan.request.whole_wheels,
        )
        complete = with_unpacked(entries, self._unpacked_of(group), self.base.platform)
        return self.compiled(complete, group.name)

    def compiled(self, entries: tuple[FileEntry, ...], name: str) -> tuple[FileEntry, ...]:
        """The files with their bytecode, when it is wanted."""
        if not self._plan.request.bytecode:
            return entries
        # Layers are made side by side already, so each compiles in one process.
        return compile_bytecode(entries, self._python(), self._scratch / f"bytecode-{name}", processes=1)

    def _tree_of(self, wanted: WheelGroup) -> Installed:
        """The tree that holds a group: one call of uv brings all that the store lacks, a second the rest."""
        with self._mutex:
            if wanted.name not in self._trees:
                # What the store knew a moment ago may be asked for all the same: `render` wants every group,
                # and of two builds on one store the other may just have made this one.
                groups = [
                    group
                    for group in self._platform.groups
                    if group.name not in self._trees
                    and (group == wanted or self._trees or not self._doors.store.knows(self.recipe(group)))
                ]
                installed = install(
                    [wheel for group in groups for wheel in group.wheels],
                    lock=self._platform.lock,
                    directory=self._scratch / f"installed-{len(self._trees)}",
                    uv=self._doors.uv,
                )
                self._trees.update((group.name, installed) for group in groups)
            return self._trees[wanted.name]

    def _python(self) -> Interpreter | RemotePython:
        with self._mutex:
            if self._interpreter is None:
                self._interpreter = interpreter_of(self._plan, self._platform, self._doors)
            return self._interpreter


def interpreter_of(plan: Plan, platform: PlatformPlan, doors: Doors) -> Interpreter | RemotePython:
    """The base's own Python, as this machine can run it: by itself, or else in the engine.

    Raises:
        BytecodeUnavailable: it cannot.
    """
    registry = doors.registry(plan.base.host)
    try:
        return find_interpreter(platform.base, registry, doors.store.root, doors.host)
    except BytecodeUnavailable as unavailable:
        try:
            prover = doors.prover()
        except EngineMissing:
            raise unavailable from None
        # Where no image runs at all the engine is a virtual machine, which emulates other platforms.
        if doors.host.platform and prover.engine.platform != platform.base.platform:
            raise
        return _python_in_engine(plan.base, platform.base, prover)


def _python_in_engine(asked: ImageRef, base: Base, prover: Prover) -> EnginePython:
    # The base stays in the engine: the next build wants it again.
    image = prover.engine.pull(asked.repository, base.digest, prover.engine_auth(asked.host))
    facts = base.facts
    return EnginePython(
        engine=prover.engine, image=image, path=facts.python_path, version=facts.python_version
    )


def _wheel_tree(workshop: Workshop, group: WheelGroup) -> Tree:
    return Tree(
        name=group.name,
        comment=", ".join(f"{wheel.name} {wheel.version}" for wheel in group.wheels),
        recipe=workshop.recipe(group),
        codec=GZIP,
        make=lambda: workshop.entries_of_group(group),
    )


def runtime_entries() -> tuple[FileEntry, ...]:
    """The serving runtime's own files, as this version of runbake ships them."""
    package = Path(runbake_serving.__file__).parent
    root = contract.RUNTIME_ROOT.lstrip("/")
    return tuple(
        FileEntry.of_bytes(
            f"{root}/runbake_serving/{path.relative_to(package).as_posix()}", path.read_bytes()
        )
        for path in sorted(package.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    )


def _runtime_tree(workshop: Workshop) -> Tree:
    entries = runtime_entries()
    contents = [
        (entry.path, Digest.of(entry.content)) for entry in entries if isinstance(entry.content, bytes)
    ]
    return Tree(
        name="runtime",
        comment=f"runbake serving runtime {contract.VERSION}",
        recipe=_recipe("runtime", contents, workshop.bytecode, GZIP.id),
        codec=GZIP,
        make=lambda: workshop.compiled(entries, "runtime"),
    )


def _model_tree(plan: Plan) -> Tree:
    codec = model_codec(plan.request)
    entries = model_entries(plan.model.root, plan.model.files)
    contents = [(file.path, file.sha256) for file in plan.model.files]
    return Tree(
        name="model",
        comment=f"model {plan.run.model_id or plan.run.run_id}",
        recipe=_recipe("model", contents, codec.id) if codec.compression == "gzip" else "",
        codec=codec,
        make=lambda: entries,
        packed=plan.model_packed,
    )


def provenance_of_platform(plan: Plan, platform: PlatformPlan) -> Provenance:
    """The label file and labels of one platform's image."""
    return provenance_of(
        plan.run,
        plan.model,
        platform.lock,
        BaseFacts(
            # A Python of this machine is no image.
            digest=str(platform.base.digest) if plan.request.base.text else "",
            python=platform.base.facts.python_version,
        ),
        flavor=plan.served.flavor,
        model_format=plan.served.format,
        trusted_types=plan.served.trusted_types,
        codec_id=f"{GZIP.id}, model {model_codec(plan.request).id}",
    )
