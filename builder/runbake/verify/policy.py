"""What an admission step asks for beyond the truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runbake.attestation import VerifyingKey
from runbake.verify.verdict import Check

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Keys that are trusted, and what is required; with a key, a statement signed by one is."""

    keys: tuple[VerifyingKey, ...] = ()
    require_signed: bool = False
    builder_ids: tuple[str, ...] = ()
    require_clean_commit: bool = False
    require_safe_format: bool = False
    require_evaluation: bool = False

    @property
    def wants_signature(self) -> bool:
        """A builder id that nobody signed is anybody's word."""
        return self.require_signed or bool(self.keys) or bool(self.builder_ids)


def run_checks(policy: Policy, label_file: dict[str, Any]) -> Iterator[Check]:
    """Whether the run that the label file tells of is what the policy asks for."""
    if policy.require_clean_commit:
        yield _commit(label_file["run"]["source"])
    if policy.require_safe_format:
        yield _format(label_file["model"])


def _commit(source: dict[str, str]) -> Check:
    commit = source.get("mlflow.source.git.commit", "")
    dirty = source.get("mlflow.source.git.dirty", "").lower()
    if not _COMMIT.fullmatch(commit):
        return Check(what="commit", outcome="REFUSED", text="the run names no commit")
    if dirty != "false":
        how = "there were changes beside it" if dirty == "true" else "whether there were changes is not known"
        return Check(what="commit", outcome="REFUSED", text=f"{commit}, and {how}")
    return Check(what="commit", outcome="ok", text=commit)


def _format(model: dict[str, Any]) -> Check:
    executable = [file["path"] for file in model["files"] if file.get("executable")]
    told = str(model.get("format", ""))
    if executable or told not in ("", "safe"):
        why = ", ".join(executable[:5]) or told
        return Check(what="format", outcome="REFUSED", text=f"loading the model runs code in it: {why}")
    return Check(what="format", outcome="ok", text="loading the model runs no code in it")


def builder_check(policy: Policy, builder_ids: set[str]) -> Iterator[Check]:
    """Whether one of the builders that trusted keys name is asked for."""
    if not policy.builder_ids:
        return
    there = ", ".join(sorted(builder_ids)) or "none that a trusted key names"
    ok = bool(builder_ids & set(policy.builder_ids))
    yield Check(what="builder", outcome="ok" if ok else "REFUSED", text=there)
