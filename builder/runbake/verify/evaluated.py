"""Whether somebody trusted says that an image's model passed its evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbake.attestation.statement import EVALUATION
from runbake.image import Digest
from runbake.provenance import model_files_of
from runbake.verify.policy import Policy
from runbake.verify.said import Said
from runbake.verify.verdict import Check

_PASSED = "passed"


def evaluation_checks(
    said: tuple[Said, ...],
    policy: Policy,
    platforms: Mapping[Digest, str],
    label_files: Mapping[str, Mapping[str, Any]],
) -> Iterator[Check]:
    """One check for each platform's manifest, where an evaluation is required.

    Only what a trusted key signed counts, and of several evaluations the newest, by the time that is signed
    with it: a test set or a gate may be mended. One without a time is older than any; at one time, the worse
    counts.

    Args:
        platforms: the digest of each manifest, and that of its label file: model files and lock are in it.
        label_files: by their digests.
    """
    if not policy.require_evaluation:
        return
    for digest, label_file in platforms.items():
        found = [one.statement.predicate for one in said if _is_about(one, digest)]
        dicts = [each for each in found if isinstance(each, dict)]
        yield _check(digest, label_file, label_files.get(label_file, {}), max(dicts, key=_age, default=None))


def _is_about(one: Said, digest: Digest) -> bool:
    return (
        one.key is not None
        and one.statement.predicate_type == EVALUATION
        and digest in [subject.digest for subject in one.statement.subjects]
    )


def _age(predicate: dict[str, Any]) -> tuple[str, bool]:
    return str(predicate.get("evaluatedAt", "")), predicate.get("verdict") != _PASSED


def _check(
    digest: Digest, label_file: str, document: Mapping[str, Any], newest: dict[str, Any] | None
) -> Check:
    if newest is None:
        text = f"no evaluation of {digest} is signed by a key that was given with --key"
        return Check(what="evaluation", outcome="REFUSED", text=text)
    candidate = newest.get("candidate")
    asked = candidate if isinstance(candidate, dict) else {}
    about = asked.get("provenance")
    when = str(newest.get("evaluatedAt", "")) or "at no known time"
    if about != label_file and not _is_of_same_model(asked, document):
        text = f"the evaluation of {digest} is about other model files or another lock: {about!s:.80}"
        return Check(what="evaluation", outcome="REFUSED", text=text)
    if newest.get("verdict") != _PASSED:
        text = f"the newest of {digest} ({when}) did not pass its gates: {newest.get('verdict')!s:.80}"
        return Check(what="evaluation", outcome="REFUSED", text=text)
    return Check(what="evaluation", outcome="ok", text=f"{digest[:19]}… passed its gates {when}")


def _is_of_same_model(asked: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether it was asked beside the same lock with the same files, before there was this image."""
    environment = document.get("environment")
    lock = environment.get("lock") if isinstance(environment, dict) else None
    digest = lock.get("digest") if isinstance(lock, dict) else None
    files = model_files_of(document)
    return bool(digest and files) and (asked.get("lock"), asked.get("modelFiles")) == (digest, files)
