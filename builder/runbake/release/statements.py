"""What a release says about its image, beside the label file: SLSA provenance, the release, the materials.

Pure. Everything that came from the run is taken from the label file, where secrets are replaced already.
docs/provenance.md documents the build type and the predicate of a release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packageurl import PackageURL

from runbake.attestation import Statement, Subject
from runbake.attestation.statement import CYCLONEDX, EVALUATION, SLSA_PROVENANCE
from runbake.base import DebianPackage
from runbake.environment import LockedWheel
from runbake.image import Digest
from runbake.provenance import rfc3339
from runbake.redaction import redacted
from runbake.registry import ImageRef
from runbake.release.assemble import Assembled
from runbake.release.plan import Plan, PlatformPlan
from runbake.runtime import Proof
from runbake.sbom import Materials, sbom_of
from runbake_serving import contract

BUILD_TYPE = "https://runbake.dev/buildtypes/mlflow-image/v1"
RELEASE = "https://runbake.dev/attestation/release/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Who builds, where and when; nothing of it reaches the image. Times are RFC 3339.

    `data` has for each dataset of the label file the name and value of a digest that was taken of it now, ""
    and "" where none was.
    """

    builder_id: str
    invocation_id: str
    started_at: str
    finished_at: str
    data: tuple[tuple[str, str], ...] = ()


def statements_of(
    plan: Plan,
    assembled: Assembled,
    proofs: tuple[Proof, ...],
    packages: tuple[tuple[DebianPackage, ...], ...],
    built: Circumstances,
) -> Iterator[tuple[Statement, tuple[Digest, ...]]]:
    """Each statement with the manifests that it is attached to; `packages` are each base's, by platform."""
    subjects = _subjects(plan, assembled)
    every = tuple(subject.digest for subject in subjects)
    yield Statement.of(subjects, SLSA_PROVENANCE, slsa_of(plan, assembled, built)), every
    yield Statement.of(subjects, RELEASE, _release(plan, proofs, built)), every
    for planned, platform, label_file, installed in zip(
        plan.platforms, assembled.image.platforms, _label_files(assembled), packages, strict=True
    ):
        digest = platform.descriptor.digest
        materials = Materials(
            image=digest,
            platform=platform.platform,
            created=plan.created,
            title=label_file["model"]["registeredName"] or label_file["model"]["name"],
            label_file=label_file,
            wheels=planned.lock.wheels,
            packages=installed,
            distribution=planned.base.facts.os_id,
        )
        subject = Subject(name=_name(plan), digest=digest)
        yield Statement.of((subject,), CYCLONEDX, sbom_of(materials)), (digest,)


def evaluation_statements(plan: Plan, assembled: Assembled) -> Iterator[tuple[Statement, Digest, bool]]:
    """Each platform's evaluation, the manifest that it is attached to, and whether the builder gave it."""
    for found, platform in zip(plan.evaluations, assembled.image.platforms, strict=False):
        if found is not None:
            subject = Subject(name=_name(plan), digest=platform.descriptor.digest)
            yield Statement.of((subject,), EVALUATION, found.document), subject.digest, found.given


def _label_files(assembled: Assembled) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(provenance.body) for provenance in assembled.provenance)


def _name(plan: Plan) -> str:
    return plan.request.repository.repository if plan.request.repository else "runbake"


def _subjects(plan: Plan, assembled: Assembled) -> tuple[Subject, ...]:
    platforms = (platform.descriptor.digest for platform in assembled.image.platforms)
    digests = dict.fromkeys((assembled.image.digest, *platforms))
    return tuple(Subject(name=_name(plan), digest=digest) for digest in digests)


def slsa_of(plan: Plan, assembled: Assembled, built: Circumstances) -> dict[str, Any]:
    """The SLSA provenance, whose external parameters are enough to build the image again.

    Source: SLSA v1.0, provenance.md.
    """
    label_files = _label_files(assembled)
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": _asked(plan),
            "internalParameters": {
                "codec": label_files[0]["environment"]["codec"],
                "python": [each["environment"]["python"] for each in label_files],
            },
            "resolvedDependencies": list(_dependencies(plan, label_files, built)),
        },
        "runDetails": {
            "builder": {
                "id": built.builder_id,
                "version": {"runbake": contract.VERSION},
            },
            "metadata": _metadata(plan, built),
            "byproducts": [
                {"name": f"label file {platform.platform}", "digest": {"sha256": provenance.digest.hex}}
                for platform, provenance in zip(assembled.image.platforms, assembled.provenance, strict=True)
            ],
        },
    }


def _asked(plan: Plan) -> dict[str, object]:
    request = plan.request
    return {
        "run": plan.run.run_id,
        "asked": redacted(plan.run.asked),
        "model": plan.run.model_id,
        "modelName": plan.run.model_name,
        "registered": [plan.run.registered_name, plan.run.registered_version],
        "base": request.base.text,
        "platforms": list(request.platforms),
        "format": request.image_format,
        "modelLayer": request.model_layer,
        "bytecode": request.bytecode,
        "wholeWheels": request.whole_wheels,
        "dataframePath": request.dataframe_path,
        "with": list(request.additions),
        "created": plan.created,
    }


def _metadata(plan: Plan, built: Circumstances) -> dict[str, object]:
    document: dict[str, object] = {
        "invocationId": built.invocation_id,
        "startedOn": built.started_at,
        "finishedOn": built.finished_at,
    }
    if plan.request.invocation is not None:
        # SLSA lets others extend its documents under `<vendor>_<name>`.
        document["runbake_gocd"] = plan.request.invocation.to_json()
    return document


def _dependencies(
    plan: Plan, label_files: tuple[dict[str, Any], ...], built: Circumstances
) -> Iterator[dict[str, Any]]:
    label_file = label_files[0]
    for planned in plan.platforms:
        yield _base(planned)
        lock = f"lock {planned.base.platform}"
        yield {"name": lock, "digest": {"sha256": planned.lock.digest.removeprefix("sha256:")}}
    yield {"name": "run", "uri": f"mlflow:runs/{plan.run.run_id}"}
    yield from _commit(label_file["run"]["source"])
    for file in label_file["model"]["files"]:
        yield {"name": f"model/{file['path']}", "digest": {"sha256": file["sha256"]}}
    wheels = dict.fromkeys(wheel for planned in plan.platforms for wheel in planned.lock.wheels)
    yield from (_wheel(wheel) for wheel in wheels)
    digests = dict(enumerate(built.data))
    for position, data in enumerate(label_file["data"]):
        name, value = digests.get(position, ("", ""))
        yield _data(data, plan.run.run_id) | ({"digest": {name: value}} if name else {})


def _data(data: dict[str, Any], run_id: str) -> dict[str, Any]:
    return {
        "name": f"data/{data['name']}",
        "uri": f"mlflow:runs/{run_id}#data",
        "annotations": {
            "context": data["context"],
            "source": data["source"],
            "sourceType": data["sourceType"],
            # MLflow's digest is 32 bits of an MD5: never under `digest`.
            "mlflowDigest": data["mlflowDigest"]["value"],
        },
    }


def _base(planned: PlatformPlan) -> dict[str, Any]:
    base = ImageRef.parse(planned.base.asked)
    purl = PackageURL(
        type="oci",
        name=base.name.rpartition("/")[2],
        version=str(planned.base.digest),
        qualifiers={"repository_url": base.repository, "arch": planned.base.platform.split("/")[1]},
    )
    return {
        "name": f"base {planned.base.platform}",
        "uri": purl.to_string(),
        "digest": {"sha256": planned.base.digest.hex},
    }


def _commit(source: dict[str, str]) -> Iterator[dict[str, Any]]:
    commit = source.get("mlflow.source.git.commit", "")
    if commit:
        yield {
            "name": "commit",
            "uri": source.get("mlflow.source.git.repoURL") or "git:unknown",
            "digest": {"gitCommit": commit},
            "annotations": {"dirty": source.get("mlflow.source.git.dirty", "unknown")},
        }


def _wheel(wheel: LockedWheel) -> dict[str, Any]:
    purl = PackageURL(type="pypi", name=wheel.name, version=wheel.version)
    return {"name": wheel.file_name, "uri": purl.to_string(), "digest": {"sha256": wheel.sha256}}


def _release(plan: Plan, proofs: tuple[Proof, ...], built: Circumstances) -> dict[str, Any]:
    promotion, at_ms = plan.run.promotion, plan.run.promotion.at_ms
    return {
        "promotion": {
            "how": promotion.how,
            "detail": redacted(promotion.detail),
            "at": rfc3339(at_ms) if at_ms is not None else None,
            "orderedBy": promotion.ordered_by,
        },
        "asked": redacted(plan.run.asked),
        "tags": list(plan.tags),
        "proofs": [proof.to_json() for proof in proofs],
        "builder": built.builder_id,
        "invocation": plan.request.invocation.to_json() if plan.request.invocation else None,
        "at": built.finished_at,
    }
