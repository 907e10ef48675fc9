"""A whole evaluation: what was asked of which models on which rows, what came out, how the gates fell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbake.diff import Difference
from runbake.evaluation.comparison import Comparison, Estimate, Metric
from runbake.evaluation.gates import Decision, verdict_of
from runbake.provenance import model_files_of

SCHEMA = "https://runbake.dev/schema/evaluation/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One of the models: its image by digest, its run, its label file, and how fast it was.

    `image` is "" where it was asked without one, beside the wheels of its lock.
    """

    image: str
    run_id: str
    provenance: str
    seconds: float
    label_file: Mapping[str, Any]

    @property
    def where(self) -> str:
        """In what it was asked, for people."""
        return self.image or f"without an image, beside the lock {self.lock}"

    @property
    def lock(self) -> str:
        """The digest of its lock."""
        return str(self.label_file["environment"]["lock"].get("digest", ""))

    @property
    def model_files(self) -> str:
        """The digest of its files: with the lock, what decides the answers."""
        return model_files_of(self.label_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSet:
    """The rows.

    Attributes:
        rejected, rejected_by_baseline: rows that a model could not be asked, by reason.
        without_target: answered, but the truth is missing.
        fingerprints: of the files, as the batch job computes them.
    """

    uri: str
    targets: tuple[str, ...]
    rows: int
    rejected: Mapping[str, int]
    rejected_by_baseline: Mapping[str, int]
    without_target: int
    fingerprints: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `runbake evaluate` found.

    Attributes:
        no_baseline: why there is none; "" where there is one.
        at: when, RFC 3339 with microseconds.
        differences: of the two label files, but for their metrics.
    """

    candidate: Subject
    baseline: Subject | None
    no_baseline: str
    at: str
    test_set: TestSet
    comparison: Comparison
    decisions: tuple[Decision, ...]
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> str:
        """`passed`, `failed`, `undecidable`, or `no gates`."""
        return verdict_of(self.decisions)

    def to_json(self) -> dict[str, Any]:
        """The document; docs/evaluation.md has its schema."""
        found = self.comparison
        return {
            "verdict": self.verdict,
            "evaluatedAt": self.at,
            "kind": found.kind,
            "candidate": _subject(self.candidate),
            "baseline": _subject(self.baseline) if self.baseline else None,
            "noBaseline": self.no_baseline,
            "testSet": {
                "uri": self.test_set.uri,
                "targets": list(self.test_set.targets),
                "rows": self.test_set.rows,
                "evaluated": found.rows,
                "rejected": dict(self.test_set.rejected),
                "rejectedByBaseline": dict(self.test_set.rejected_by_baseline),
                "withoutTarget": self.test_set.without_target,
                "fingerprints": list(self.test_set.fingerprints),
            },
            "metrics": [_metric(metric) for metric in found.metrics],
            "slices": [
                {
                    "column": part.column,
                    "value": part.value,
                    "rows": part.rows,
                    "churn": part.churn,
                    "metrics": [_metric(metric) for metric in part.metrics],
                }
                for part in found.slices
            ],
            "classes": list(found.classes),
            "confusion": [[list(row) for row in table] for table in found.confusion],
            "reliability": [list(row) for row in found.reliability],
            "residuals": [list(row) for row in found.residuals],
            "churn": _churn(found),
            "shift": {
                "labels": list(found.shift.labels),
                "candidate": list(found.shift.candidate),
                "baseline": list(found.shift.baseline),
                "distance": found.shift.distance,
            }
            if found.shift
            else None,
            "gates": [
                {"gate": one.gate.text, "where": one.where, "outcome": one.outcome, "why": one.why}
                for one in self.decisions
            ],
            "differences": [difference.to_json() for difference in self.differences],
        }


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "image": subject.image,
        "run": subject.run_id,
        "provenance": subject.provenance,
        "lock": subject.lock,
        "modelFiles": subject.model_files,
        "seconds": subject.seconds,
    }


def _number(value: float | None) -> float | None:
    """JSON has no NaN: what is not defined is null."""
    return value if value is not None and math.isfinite(value) else None


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": _number(estimate.value),
        "interval": [_number(end) for end in estimate.interval] if estimate.interval else None,
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "better": metric.better,
        "candidate": _estimate(metric.candidate),
        "baseline": _estimate(metric.baseline),
        "difference": _estimate(metric.difference),
        "pValue": _number(metric.p_value),
    }


def _churn(found: Comparison) -> dict[str, Any] | None:
    churn = found.churn
    if churn is None:
        return None
    return {
        "rows": churn.rows,
        "changed": churn.changed,
        "share": churn.share,
        "fixed": churn.fixed,
        "broken": churn.broken,
        "mcnemarP": _number(churn.mcnemar),
        "byClass": [
            {"class": name, "changed": changed, "rows": rows} for name, changed, rows in churn.by_class
        ],
        "fixedRows": list(churn.fixed_rows),
        "brokenRows": list(churn.broken_rows),
    }
