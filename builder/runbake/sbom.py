"""The bill of materials of one platform's image, as CycloneDX 1.6: wheels, packages, model files. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from runbake.base import DebianPackage
from runbake.environment import LockedWheel
from runbake.image import Digest
from runbake_serving import contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What an image is made of. `distribution` is os-release's ID of the base, such as "debian"."""

    image: Digest
    platform: str
    created: str  # RFC 3339
    title: str
    label_file: dict[str, Any]
    wheels: tuple[LockedWheel, ...]
    packages: tuple[DebianPackage, ...]
    distribution: str


def sbom_of(materials: Materials) -> dict[str, Any]:
    """The CycloneDX document; equal materials give equal documents."""
    image = Component(
        name=materials.title or "model",
        type=ComponentType.CONTAINER,
        version=str(materials.image),
        bom_ref="image",
        hashes=[_sha256(materials.image.hex)],
        properties=[Property(name="dev.runbake.platform", value=materials.platform)],
    )
    bom = Bom(
        # Made from the digest: equal images have equal bills of materials.
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"https://runbake.dev/sbom/{materials.image}"),
        metadata=BomMetaData(component=image, timestamp=datetime.fromisoformat(materials.created)),
        components=(
            *_wheels(materials.wheels),
            *_packages(materials.packages, materials.distribution),
            _runtime(),
            _model(materials.label_file),
        ),
    )
    bom.register_dependency(image, bom.components)
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return document


def _sha256(content: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=content)


def _wheels(wheels: Iterable[LockedWheel]) -> Iterator[Component]:
    for wheel in wheels:
        qualifiers = {"file_name": wheel.file_name}
        purl = PackageURL(type="pypi", name=wheel.name, version=wheel.version, qualifiers=qualifiers)
        yield Component(
            name=wheel.name,
            version=wheel.version,
            purl=purl,
            bom_ref=purl.to_string(),
            hashes=[_sha256(wheel.sha256)],
        )


def _packages(packages: Iterable[DebianPackage], distribution: str) -> Iterator[Component]:
    for package in packages:
        purl = PackageURL(
            type="deb",
            namespace=distribution or "debian",
            name=package.name,
            version=package.version,
            qualifiers={"arch": package.architecture} if package.architecture else {},
        )
        yield Component(name=package.name, version=package.version, purl=purl, bom_ref=purl.to_string())


def _runtime() -> Component:
    return Component(name="runbake-serving", version=contract.VERSION, bom_ref="runbake-serving")


def _model(label_file: dict[str, Any]) -> Component:
    model, run = label_file["model"], label_file["run"]
    return Component(
        name=model["registeredName"] or model["name"] or "model",
        version=model["registeredVersion"] or model["id"] or run["id"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        properties=[
            Property(name="dev.runbake.run-id", value=run["id"]),
            Property(name="dev.runbake.flavor", value=model["flavor"]),
        ],
        components=[
            Component(
                name=file["path"],
                type=ComponentType.FILE,
                bom_ref=f"model/{file['path']}",
                hashes=[_sha256(file["sha256"])],
            )
            for file in model["files"]
        ],
    )
