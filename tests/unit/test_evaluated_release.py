"""Which evaluation counts for a release."""

from __future__ import annotations

import json

import pytest

from runbake.errors import NotEvaluated
from runbake.release.evaluated import Evaluated, check_passed, evaluated_of, fitting


def evaluated(
    verdict: str = "passed", at: str = "2026-01-01", lock: str = "l", files: str = "f"
) -> Evaluated:
    candidate = {"lock": lock, "modelFiles": files}
    document = {
        "status": "done",
        "schema": "s",
        "verdict": verdict,
        "evaluatedAt": at,
        "candidate": candidate,
    }
    return evaluated_of(json.dumps(document), named="e.json", given=True)


def test_only_the_evaluation_itself_is_stated() -> None:
    """What is around it in the report says nothing of the model."""
    assert set(evaluated().document) == {"verdict", "evaluatedAt", "candidate"}


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"status": "failed"}', '{"verdict": 1, "candidate": []}', "[" * 9999]
)
def test_what_is_no_evaluation_is_refused(text: str) -> None:
    """By its name, whatever somebody wrote."""
    with pytest.raises(NotEvaluated, match=r"e\.json"):
        evaluated_of(text, named="e.json", given=False)


def test_the_newest_of_this_model_counts_and_of_two_the_worse() -> None:
    """Other files and other locks are another model's."""
    found = [
        evaluated(at="2026-01-02"),
        evaluated("failed", at="2026-01-01"),
        evaluated("failed", at="2026-01-09", lock="other"),
        evaluated("failed", at="2026-01-09", files="other"),
    ]
    assert fitting(found, lock="l", model_files="f") == found[0]
    worse = evaluated("failed", at="2026-01-02")
    assert fitting([*found, worse], lock="l", model_files="f") == worse
    assert fitting([], lock="l", model_files="f") is None


@pytest.mark.parametrize("verdict", ["failed", "undecidable", "no gates", None])
def test_only_passed_passes(verdict: str | None) -> None:
    """None at all is refused as well."""
    found = evaluated(verdict) if verdict else None
    with pytest.raises(NotEvaluated, match="linux/amd64"):
        check_passed(found, platform="linux/amd64", lock="l", run_id="r")
    check_passed(evaluated(), platform="linux/amd64", lock="l", run_id="r")
