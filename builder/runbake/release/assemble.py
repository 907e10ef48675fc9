"""From the plan to an image: base layers, wheels, runtime, model, label file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from runbake.base import Base
from runbake.crew import Crew
from runbake.flavors import Served
from runbake.image import (
    BaseParts,
    Blob,
    Descriptor,
    Digest,
    Image,
    Layer,
    Packed,
    PlatformImage,
    Runtime,
    canonical_json,
    compression_of,
    image_of,
    open_tar,
    platform_image,
    stored_layer,
)
from runbake.provenance import Provenance
from runbake.release.plan import Plan, PlatformPlan, mebibytes
from runbake.release.request import Doors
from runbake.release.trees import Tree, provenance_of_platform, trees_of
from runbake_serving import contract

_OF_THE_BASE_ALONE = ("org.opencontainers.image.", contract.LABEL_NAMESPACE)


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


def _platform(
    plan: Plan, platform: PlatformPlan, doors: Doors, scratch: Path
) -> tuple[PlatformImage, Provenance]:
    provenance = provenance_of_platform(plan, platform)
    trees = trees_of(plan, platform, doors, scratch)
    with Crew() as crew:
        layers = crew.each(lambda tree: _layer_of(tree, doors), trees, threads=2)
    made = platform_image(
        image_format=plan.request.image_format,
        platform=platform.base.platform,
        base=_base_parts(platform.base, plan, doors),
        layers=layers,
        runtime=runtime_of(platform.base, plan.served),
        labels=dict(provenance.labels),
        created=plan.created,
    )
    return made, provenance


def runtime_of(base: Base, served: Served) -> Runtime:
    """How the container starts: non-root, the base's interpreter, our subcommands, the flavor's variables."""
    return Runtime(
        entrypoint=(base.facts.python_path, "-m", "runbake_serving"),
        command=("serve",),
        env=(
            ("PYTHONPATH", f"{contract.RUNTIME_ROOT}:{contract.SITE_PACKAGES}"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONUNBUFFERED", "1"),
            (contract.ENV_MODEL_ROOT, contract.MODEL_ROOT),
            (contract.ENV_PROVENANCE, contract.PROVENANCE_FILE),
            *served.environment,
        ),
        user=f"{contract.USER_ID}:{contract.USER_ID}",
        port=contract.PORT,
    )


def labels_of_base(base: Base) -> tuple[dict[str, str], tuple[str, ...]]:
    """The base's labels that hold for an image on it, and the names of those that do not.

    Whose source, version and revision a label tells is the image's, and the base's are not the model's.
    """
    labels: dict[str, str] = (base.config_json.get("config") or {}).get("Labels") or {}
    own = tuple(sorted(name for name in labels if name.startswith(_OF_THE_BASE_ALONE)))
    return {name: labels[name] for name in sorted(labels) if name not in own}, own


def _base_parts(base: Base, plan: Plan, doors: Doors) -> BaseParts:
    ref, target = plan.base, plan.request.repository
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
        labels=tuple(labels_of_base(base)[0].items()),
    )


def _history_of(config: dict[str, Any], n_layers: int) -> list[dict[str, Any]]:
    # History is optional; an image of ours always has an entry for each layer.
    history: list[dict[str, Any]] = config.get("history") or []
    filled = [entry for entry in history if not entry.get("empty_layer")]
    return history if len(filled) == n_layers else [{"created_by": "base"}] * n_layers


def _base_blob(descriptor: Descriptor, plan: Plan, doors: Doors) -> Blob:
    """A layer of the base, fetched when the target does not have it and cannot mount it."""
    ref, registry = plan.base, doors.registry(plan.base.host)

    def opened() -> BinaryIO:
        return doors.store.open_blob(
            descriptor.digest.hex, lambda path: registry.fetch_blob(ref.name, descriptor, path)
        )

    return Blob(digest=descriptor.digest, size_bytes=descriptor.size_bytes, open=opened)


def _layer_of(tree: Tree, doors: Doors) -> Layer:
    if tree.recipe:
        return doors.store.layer(tree.recipe, tree.make, tree.codec, name=tree.name, comment=tree.comment)
    if tree.packed is not None:
        return _layer_of_known(tree, tree.packed)
    return stored_layer(tree.name, tree.make(), tree.comment)


def _layer_of_known(tree: Tree, packed: Packed) -> Layer:
    digest = Digest(f"sha256:{packed.sha256}")
    return Layer(
        name=tree.name,
        blob=Blob(digest=digest, size_bytes=packed.size_bytes, open=lambda: open_tar(tree.make())),
        diff_id=digest,
        compression="none",
        comment=tree.comment,
    )
