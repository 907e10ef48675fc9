"""Small images in a real registry, true ones and spoilt ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbake.attestation import Signer, Statement, attach, bundle_of
from runbake.image import (
    Descriptor,
    FileEntry,
    Image,
    Layer,
    PlatformImage,
    image_of,
    platform_image,
    stored_layer,
)
from runbake.image.manifest import BaseParts
from runbake.registry import CredentialSource, ImageRef, Registry
from runbake.release import Attester, Plan
from runbake.release.assemble import Assembled, assemble, runtime_of
from runbake.release.attesting import attest
from runbake.release.publish import push
from runbake.release.so_far import SoFar
from runbake.verify import Policy, Verdict, verify
from runbake_serving import contract
from tests.unit.release.test_order import Effects, a_plan, doors_to

MODEL = contract.MODEL_ROOT.lstrip("/")


@dataclass(frozen=True)
class Shop:
    """A repository in a registry, and where images for it are made."""

    directory: Path
    repository: ImageRef
    registry: Registry

    def doors(self) -> Any:
        """Doors with the real registry."""
        doors = doors_to(Effects(), self.directory)
        return replace(doors, registry=lambda _: self.registry)

    def made(self, **changes: Any) -> tuple[Plan, Assembled]:
        """A plan and its image."""
        plan = a_plan(self.directory, repository=self.repository, **changes)
        return plan, assemble(plan, self.doors())

    def pushed(self, image: Image) -> ImageRef:
        """The image in the registry, by digest."""
        push(image, self.repository, self.doors(), SoFar())
        return replace(self.repository, digest=image.digest)

    def attested(self, plan: Plan, assembled: Assembled, signer: Signer | None, builder: str = "b") -> None:
        """Say of an image what a release says."""
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        attester = Attester(
            signer=signer, builder_id=builder, invocation_id="i", started_at=moment, now=lambda: moment
        )
        attest(plan, assembled, (), self.doors(), attester)

    def attach(self, statement: Statement, image: Image, signer: Signer | None) -> None:
        """Attach any statement to an image."""
        bundle = bundle_of(statement, signer) if signer else None
        self.attach_bundle(statement, bundle, image)

    def attach_bundle(self, statement: Statement, bundle: bytes | None, image: Image) -> None:
        """Attach any bytes to an image."""
        subject = Descriptor(media_type=image.media_type, digest=image.digest, size_bytes=len(image.body))
        attach(
            statement,
            bundle,
            (subject,),
            repository=self.repository,
            registry=self.registry,
            created="2026-01-02T00:00:00Z",
        )

    def verified(self, ref: ImageRef, policy: Policy | None = None) -> Verdict:
        """What `verify` finds."""
        return verify(ref, self.registry, policy or Policy(), self.directory / "verify")


def shop(directory: Path, address: str) -> Shop:
    """An empty repository of its own."""
    return Shop(
        directory=directory,
        repository=ImageRef(host=address, name=f"verify/{directory.name.lower().strip('_')}"),
        registry=Registry(address, credentials=CredentialSource(directory / "none.json")),
    )


def with_layers(plan: Plan, assembled: Assembled, layers: Sequence[Layer], **labels: str) -> Image:
    """The image with other layers, and with some labels changed."""
    made: PlatformImage = platform_image(
        image_format="oci",
        platform="linux/amd64",
        base=BaseParts(layers=(), history=(), env=()),
        layers=layers,
        runtime=runtime_of(plan.platforms[0].base, plan.served),
        labels={**dict(assembled.provenance[0].labels), **labels},
        created=plan.created,
    )
    return image_of([made], image_format="oci", annotations={})


def layer_of(files: dict[str, bytes]) -> Layer:
    """A layer of these files."""
    return stored_layer("spoilt", [FileEntry.of_bytes(*each) for each in files.items()], "spoilt")
