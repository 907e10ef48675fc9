"""What is attached to an image, whom it comes from, and whether it contradicts the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runbake.attestation import Attached, VerifyingKey, attached_to
from runbake.attestation.statement import SLSA_PROVENANCE, Statement
from runbake.image import Digest
from runbake.registry import ImageRef, Registry
from runbake.verify.policy import Policy
from runbake.verify.verdict import Check, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A statement about the image, and the trusted key that signed it, None where none did."""

    attached: Attached
    statement: Statement
    key: VerifyingKey | None


def statements_about(
    digests: tuple[Digest, ...], repository: ImageRef, registry: Registry, policy: Policy
) -> tuple[tuple[Said, ...], tuple[Check, ...]]:
    """The readable statements, each once, and a check for each that cannot be read or is about another image.

    One statement about an index hangs on every manifest that it is about.
    """
    said: dict[bytes, Said] = {}
    checks: list[Check] = []
    for digest in digests:
        for attached in attached_to(digest, repository=repository, registry=registry):
            if attached.statement is None:
                text = f"{attached.digest[:19]}… is not believed: {attached.problem}"
                checks.append(Check(what="statement", outcome="note", text=text))
                continue
            sealed = attached.sealed
            key = sealed.signed_by(policy.keys) if sealed else None
            identity = attached.statement.to_bytes() + (sealed.signature if sealed else b"")
            said.setdefault(identity, Said(attached=attached, statement=attached.statement, key=key))
    return tuple(said.values()), tuple(checks)


def signature_checks(said: tuple[Said, ...], policy: Policy, digests: tuple[Digest, ...]) -> Iterator[Check]:
    """Who signed each statement; and whether somebody trusted says where each of the manifests comes from.

    Of each: an index may name one signed platform beside one of somebody else's.
    """
    for one in said:
        yield _signature_check(one, policy)
    provenance = [one for one in said if one.statement.predicate_type == SLSA_PROVENANCE]
    if not provenance:
        outcome: Outcome = "REFUSED" if policy.wants_signature else "UNSIGNED"
        yield Check(what="provenance", outcome=outcome, text="nothing says where this image comes from")
    elif policy.wants_signature:
        named = {each.digest for one in provenance if one.key is not None for each in one.statement.subjects}
        if bare := [digest for digest in digests if digest not in named]:
            text = f"no provenance of {', '.join(bare[:5])} is signed by a key that was given with --key"
            yield Check(what="provenance", outcome="REFUSED", text=text)


def _signature_check(one: Said, policy: Policy) -> Check:
    kind = one.statement.predicate_type
    if one.key is not None:
        return Check(what="statement", outcome="ok", text=f"{kind}, signed by {one.key.id[:12]}")
    if one.attached.sealed is None:
        return Check(what="statement", outcome="UNSIGNED", text=f"{kind}: anybody may have written it")
    why = "by none of the keys given" if policy.keys else "and not checked: no --key was given"
    return Check(what="statement", outcome="note", text=f"{kind} is signed {why}")


def builders_of(said: tuple[Said, ...]) -> set[str]:
    """The builders that trusted keys name."""
    return {
        str(_at(one.statement.predicate, "runDetails", "builder", "id") or "")
        for one in said
        if one.key is not None and one.statement.predicate_type == SLSA_PROVENANCE
    }


def contradictions(
    said: tuple[Said, ...], label_files: dict[str, dict[str, Any]], policy: Policy
) -> Iterator[Check]:
    """Where a provenance names other inputs than the label files; `label_files` by their own digest.

    With keys, only what they signed counts: anybody who may push can attach a lie, and it must stop nobody.
    """
    for one in said:
        if one.statement.predicate_type != SLSA_PROVENANCE or (policy.keys and one.key is None):
            continue
        problems = list(_problems(one.statement.predicate, label_files))
        where = f"provenance {one.attached.digest[:19]}…"
        if problems:
            text = f"{where} contradicts the image: {'; '.join(problems[:5])}"
            yield Check(what="provenance", outcome="FAILED", text=text)
        elif one.key is not None:
            text = f"{where} names the image's model files, lock, base and label file"
            yield Check(what="provenance", outcome="ok", text=text)


def _problems(predicate: Any, label_files: dict[str, dict[str, Any]]) -> Iterator[str]:
    dependencies = _digests(_at(predicate, "buildDefinition", "resolvedDependencies"))
    byproducts = _digests(_at(predicate, "runDetails", "byproducts"))
    for digest, label_file in label_files.items():
        platform = label_file["environment"]["platform"]
        wanted = {f"model/{file['path']}": file["sha256"] for file in label_file["model"]["files"]}
        wanted[f"lock {platform}"] = label_file["environment"]["lock"]["digest"].removeprefix("sha256:")
        wanted[f"base {platform}"] = label_file["environment"]["base"]["digest"].removeprefix("sha256:")
        for name, sha256 in wanted.items():
            if dependencies.get(name) != sha256:
                yield f"{name} is {dependencies.get(name, 'missing')}, in the image {sha256}"
        if byproducts.get(f"label file {platform}") != digest.removeprefix("sha256:"):
            yield f"it is about another label file of {platform}"


def _digests(entries: Any) -> dict[str, str]:
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        sha256 = _at(entry, "digest", "sha256")
        if isinstance(sha256, str):
            found[str(_at(entry, "name"))] = sha256
    return found


def _at(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document
