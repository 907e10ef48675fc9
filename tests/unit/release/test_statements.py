"""What a release says of its image: enough to build it again, nothing secret, in others' formats."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from runbake.attestation import Statement, parse_statement
from runbake.attestation.statement import CYCLONEDX, SLSA_PROVENANCE
from runbake.base import DebianPackage, debian_packages
from runbake.image import Digest
from runbake.redaction import MARKER
from runbake.release import Release
from runbake.release.assemble import Assembled, assemble
from runbake.release.plan import Plan
from runbake.release.statements import BUILD_TYPE, RELEASE, Circumstances, slsa_of, statements_of
from runbake.report import finished
from runbake.runtime import Proof
from tests.unit.release.test_order import Effects, a_plan, doors_to
from tests.unit.samples import HOSTILE, a_run

LIBC = DebianPackage(name="libc6", version="2.36-9+deb12u14", architecture="amd64")
PROOF = Proof(platform="linux/amd64", image="i", kind="example", reference="m", ready_s=1.0)


def built(at: str) -> Circumstances:
    return Circumstances(builder_id="https://b.example", invocation_id="i", started_at=at, finished_at=at)


def said(plan: Plan, assembled: Assembled, at: str = "2026-01-01T00:00:00Z") -> dict[str, Statement]:
    found = statements_of(plan, assembled, (PROOF,), ((LIBC,),), built(at))
    return {statement.predicate_type: statement for statement, _ in found}


def made(directory: Path, **changes: Any) -> tuple[Plan, Assembled]:
    plan = a_plan(directory, **changes)
    return plan, assemble(plan, doors_to(Effects(), directory))


def test_each_statement_is_about_the_image(tmp_path: Path) -> None:
    """Provenance, release and materials, each an in-toto statement that is read back as it was."""
    plan, assembled = made(tmp_path)
    statements = said(plan, assembled)

    assert list(statements) == [SLSA_PROVENANCE, RELEASE, CYCLONEDX]
    for statement in statements.values():
        assert parse_statement(statement.to_bytes()) == statement
        assert [subject.digest for subject in statement.subjects] == [assembled.image.digest]


def test_provenance_names_every_input(tmp_path: Path) -> None:
    """Base, lock, run, commit, model files, wheels and data; MLflow's digest never as a digest."""
    plan, assembled = made(tmp_path)
    predicate = said(plan, assembled)[SLSA_PROVENANCE].predicate
    by_name = {one["name"]: one for one in predicate["buildDefinition"]["resolvedDependencies"]}

    assert predicate["buildDefinition"]["buildType"] == BUILD_TYPE
    assert predicate["runDetails"]["builder"]["id"] == "https://b.example"
    assert by_name["base linux/amd64"]["digest"]["sha256"] == Digest.of(b"base").hex
    assert by_name["commit"]["digest"] == {"gitCommit": "a" * 40}
    assert by_name["commit"]["annotations"] == {"dirty": "unknown"}
    assert by_name["model/model.skops"]["digest"]["sha256"] == Digest.of(b"abc").hex
    assert by_name["numpy-2.0-py3-none-any.whl"]["uri"] == "pkg:pypi/numpy@2.0"
    assert by_name["lock linux/amd64"]["digest"]["sha256"] == plan.platforms[0].lock.digest[7:]
    assert "digest" not in by_name["data/wine"]
    assert by_name["data/wine"]["annotations"]["mlflowDigest"] == "12345678"

    hashed = replace(built("2026-01-01T00:00:00Z"), data=(("sha256", "e" * 64),))
    again = slsa_of(plan, assembled, hashed)["buildDefinition"]["resolvedDependencies"]
    assert next(one["digest"] for one in again if one["name"] == "data/wine") == {"sha256": "e" * 64}


def test_the_materials_follow_cyclonedx(tmp_path: Path) -> None:
    """CycloneDX' own strict schema holds; wheels, packages and model files are there."""
    plan, assembled = made(tmp_path)
    predicate = said(plan, assembled)[CYCLONEDX].predicate

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(predicate))
    assert problem is None, problem
    components = {one["name"]: one for one in predicate["components"]}
    assert components["numpy"]["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    assert components["libc6"]["purl"].startswith("pkg:deb/debian/libc6@2.36-9")
    assert components["model"]["type"] == "machine-learning-model"
    assert components["model"]["components"][0]["hashes"][0]["content"] == Digest.of(b"abc").hex


def test_another_day_and_builder_change_the_statements_only(tmp_path: Path) -> None:
    """The image's digest is the same, its materials too; provenance and release tell the difference."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    one, two = said(*first), said(*second, at="2030-01-01T00:00:00Z")

    assert first[1].image.digest == second[1].image.digest
    assert {kind for kind in one if one[kind] != two[kind]} == {SLSA_PROVENANCE, RELEASE}


def test_no_secret_and_no_markup_gets_out(tmp_path: Path) -> None:
    """A password in a tracking address or a repository, hostile names, 10,000 parameters: text stays text."""
    plan = a_plan(tmp_path)
    run = a_run(
        asked="https://me:hunter2secret@mlflow.example/run",
        run_name=HOSTILE,
        model_name="modèle 模型",
        params=tuple((f"p{n}", "x") for n in range(10_000)),
        source_tags=(
            ("mlflow.source.git.commit", "a" * 40),
            ("mlflow.source.git.repoURL", "https://me:hunter2secret@git.example/x"),
        ),
    )
    plan = replace(plan, run=run)
    assembled = assemble(plan, doors_to(Effects(), tmp_path))
    statements = said(plan, assembled)

    for statement in statements.values():
        assert b"hunter2secret" not in statement.to_bytes()
        assert b"<script>" not in statement.to_bytes()
    components = statements[CYCLONEDX].predicate["components"]
    assert "modèle 模型" in [component["name"] for component in components]


def test_debian_packages_are_read_from_dpkgs_files(tmp_path: Path) -> None:
    """Installed ones from status and, for distroless, from status.d; removed ones are not there."""
    assert debian_packages(tmp_path) == ()
    dpkg = tmp_path / "var" / "lib" / "dpkg"
    (dpkg / "status.d").mkdir(parents=True)
    (dpkg / "status").write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u14\n"
        "Description: x\n Version: 9\n\n"
        "Package: perl\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 5\n"
    )
    (dpkg / "status.d" / "tzdata").write_text("Package: tzdata\nVersion: 2025b\nArchitecture: all\n")
    (dpkg / "status.d" / "tzdata.md5sums").write_text("Package: no\nVersion: 1\n")

    assert debian_packages(tmp_path) == (
        LIBC,
        DebianPackage(name="tzdata", version="2025b", architecture="all"),
    )


def test_neither_plan_nor_report_repeats_the_credentials_of_an_artifact_location(tmp_path: Path) -> None:
    """MLflow's stores may have them in the URI; both documents are kept and shown."""
    plan = a_plan(tmp_path)
    plan = replace(plan, run=replace(plan.run, model_uri="ftp://svc:hunter2@h.x/m"))
    assembled = assemble(plan, doors_to(Effects(), tmp_path))
    release = Release(plan=plan, assembled=assembled, transfer=None, proofs=(), tags=())

    for document in (json.loads(plan.to_json()), finished(release)):
        assert document["model"] == f"ftp://{MARKER}@h.x/m"
