"""From the plan to an image: base layers, wheels, runtime, model, label file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import runbake_serving
from runbake.base import Base, Interpreter, find_interpreter
from runbake.environment import (
    Installed,
    WheelGroup,
    bytecode_id,
    compile_bytecode,
    entries_of,
    install,
    recipe_of,
)
from runbake.image import (
    GZIP,
    STORED,
    BaseParts,
    Blob,
    Codec,
    Descriptor,
    Digest,
    FileEntry,
    Image,
    Layer,
    PlatformImage,
    Runtime,
    canonical_json,
    compression_of,
    image_of,
    platform_image,
    stored_layer,
)
from runbake.provenance import BaseFacts, Provenance, provenance_of
from runbake.release.plan import Plan, PlatformPlan, mebibytes
from runbake.release.request import Doors
from runbake.store import disk_full_is_named
from runbake_serving import contract

RECIPE = 1
"""Counts up whenever the same inputs would give other bytes: a changed rule of trees, tar or bytecode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """The image and each platform's label file, in the order of the platforms."""

    image: Image
    provenance: tuple[Provenance, ...]


def assemble(plan: Plan, doors: Doors) -> Assembled:
    """Make every layer that the store does not recall, and the documents around them."""
    with doors.story.step("layers") as step, doors.store.scratch() as scratch:
        made = [_platform(plan, platform, doors, scratch) for platform in plan.platforms]
        image = image_of(
            [platform for platform, _ in made],
            image_format=plan.request.image_format,
            annotations=dict(_common(made[0][1].labels, made[-1][1].labels)),
        )
        ours = {
            layer.blob.digest: layer.blob.size_bytes
            for platform, plans in zip(image.platforms, plan.platforms, strict=True)
            for layer in platform.layers[len(plans.base.layers) :]
        }
        step.say(f"{len(ours)} layers, {mebibytes(sum(ours.values()))}, {image.digest[:19]}…")
    return Assembled(image=image, provenance=tuple(provenance for _, provenance in made))


def _common(first: Sequence[tuple[str, str]], last: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    # An index carries what is true of every platform: the lock and the base differ.
    return (pair for pair in first if pair in last)


def _model_codec(plan: Plan) -> Codec:
    wanted = plan.request.model_layer
    if wanted == "auto":
        # Weights hardly compress; but AWS consumers of Docker's format expect gzip.
        wanted = "gzip" if plan.request.image_format == "docker" else "none"
    return GZIP if wanted == "gzip" else STORED


def _platform(
    plan: Plan, platform: PlatformPlan, doors: Doors, scratch: Path
) -> tuple[PlatformImage, Provenance]:
    provenance = provenance_of_platform(plan, platform)
    trees = trees_of(plan, platform, doors, scratch)
    with ThreadPoolExecutor(2) as pool:
        layers = list(pool.map(lambda tree: _layer_of(tree, doors), trees))
    made = platform_image(
        image_format=plan.request.image_format,
        platform=platform.base.platform,
        base=_base_parts(platform.base, plan, doors),
        layers=layers,
        runtime=runtime_of(platform.base),
        labels=dict(provenance.labels),
        created=plan.created,
    )
    return made, provenance


def provenance_of_platform(plan: Plan, platform: PlatformPlan) -> Provenance:
    """The label file and labels of one platform's image."""
    return provenance_of(
        plan.run,
        plan.model,
        platform.lock,
        BaseFacts(digest=str(platform.base.digest), python=platform.base.facts.python_version),
        flavor=plan.served.flavor,
        codec_id=f"{GZIP.id}, model {_model_codec(plan).id}",
    )


def runtime_of(base: Base) -> Runtime:
    """How the container starts: non-root, the base's interpreter, our subcommands."""
    return Runtime(
        entrypoint=(base.facts.python_path, "-m", "runbake_serving"),
        command=("serve",),
        env=(
            ("PYTHONPATH", f"{contract.RUNTIME_ROOT}:{contract.SITE_PACKAGES}"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONUNBUFFERED", "1"),
            (contract.ENV_MODEL_ROOT, contract.MODEL_ROOT),
            (contract.ENV_PROVENANCE, contract.PROVENANCE_FILE),
        ),
        user=f"{contract.USER_ID}:{contract.USER_ID}",
        port=contract.PORT,
    )


def _base_parts(base: Base, plan: Plan, doors: Doors) -> BaseParts:
    ref, target = plan.request.base, plan.request.repository
    origin = ref.name if target is not None and target.host == ref.host else ""
    config = base.config_json
    return BaseParts(
        layers=tuple(
            Layer(
                name=f"base-{position}",
                blob=_base_blob(layer.descriptor, plan, doors),
                diff_id=layer.diff_id,
                compression=compression_of(layer.descriptor.media_type),
                comment="base",
                origin=origin,
            )
            for position, layer in enumerate(base.layers)
        ),
        history=tuple(canonical_json(entry).decode() for entry in _history_of(config, len(base.layers))),
        env=tuple(f"{name}={value}" for name, value in base.env),
        labels=tuple(sorted(((config.get("config") or {}).get("Labels") or {}).items())),
    )


def _history_of(config: dict[str, Any], n_layers: int) -> list[dict[str, Any]]:
    # History is optional; an image of ours always has an entry for each layer.
    history: list[dict[str, Any]] = config.get("history") or []
    filled = [entry for entry in history if not entry.get("empty_layer")]
    return history if len(filled) == n_layers else [{"created_by": "base"}] * n_layers


def _base_blob(descriptor: Descriptor, plan: Plan, doors: Doors) -> Blob:
    """A layer of the base, fetched when the target does not have it and cannot mount it."""
    ref, kept = plan.request.base, doors.store.blob_path(descriptor.digest.hex)

    def opened() -> BinaryIO:
        if not kept.exists():
            with disk_full_is_named(doors.store.root):
                doors.registry(ref.host).fetch_blob(ref.name, descriptor, kept)
        return kept.open("rb")

    return Blob(digest=descriptor.digest, size_bytes=descriptor.size_bytes, open=opened)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of one layer, not made before they are needed.

    `recipe` is a hash of everything that the layer's bytes depend on, "" for a layer that is read from its
    files each time.
    """

    name: str
    comment: str
    recipe: str
    codec: Codec
    make: Callable[[], tuple[FileEntry, ...]]


def _layer_of(tree: Tree, doors: Doors) -> Layer:
    if tree.recipe:
        return doors.store.layer(tree.recipe, tree.make, tree.codec, name=tree.name, comment=tree.comment)
    return stored_layer(tree.name, tree.make(), tree.comment)


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
        self._interpreter: Interpreter | None = None

    @property
    def bytecode(self) -> str:
        """What decides the bytes of compiled files, "" when none are wanted."""
        return bytecode_id(self.base.facts.python_version) if self._plan.request.bytecode else ""

    def recipe(self, group: WheelGroup) -> str:
        """The recipe of a group's layer."""
        files = recipe_of(group, interpreter=self.base.facts.python_path, bytecode=self.bytecode)
        return _recipe("wheels", files, GZIP.id)

    def entries_of_group(self, group: WheelGroup) -> tuple[FileEntry, ...]:
        """The files of a group's layer."""
        entries = entries_of(self._tree_of(group), group.wheels, interpreter=self.base.facts.python_path)
        return self.compiled(entries, group.name)

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

    def _python(self) -> Interpreter:
        with self._mutex:
            if self._interpreter is None:
                self._interpreter = interpreter_of(self._plan, self._platform, self._doors)
            return self._interpreter


def interpreter_of(plan: Plan, platform: PlatformPlan, doors: Doors) -> Interpreter:
    """The base's own Python, as this machine can run it.

    Raises:
        BytecodeUnavailable: it cannot.
    """
    registry = doors.registry(plan.request.base.host)
    return find_interpreter(platform.base, registry, doors.store.root, doors.host)


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
    codec, root = _model_codec(plan), contract.MODEL_ROOT.lstrip("/")
    entries = tuple(
        FileEntry(path=f"{root}/{file.path}", content=plan.model.root / file.path, size_bytes=file.size_bytes)
        for file in plan.model.files
    )
    contents = [(file.path, file.sha256) for file in plan.model.files]
    return Tree(
        name="model",
        comment=f"model {plan.run.model_id or plan.run.run_id}",
        recipe=_recipe("model", contents, codec.id) if codec.compression == "gzip" else "",
        codec=codec,
        make=lambda: entries,
    )
