"""Answers and evaluations made of plain columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from runbake.evaluation import (
    Answers,
    Comparison,
    Decision,
    Evaluation,
    Fact,
    Gate,
    Kind,
    Subject,
    TestSet,
    compared,
    decided,
    truth_of,
)


def answers(columns: Mapping[str, Sequence[Any]], *predictions: str) -> Answers:
    """Answers to every row of a test set."""
    table = {name: pa.chunked_array([pa.array(values)]) for name, values in columns.items()}
    rows = len(next(iter(table.values())))
    return Answers(
        rows=np.arange(rows),
        columns=table,
        predictions=predictions or ("prediction",),
        rows_in=rows,
        reasons={},
        fingerprints=("f",),
        seconds=0.1,
    )


def comparison(
    truth: Sequence[Any],
    *guesses: Sequence[Any],
    slices: Mapping[str, Sequence[Any]] | None = None,
    kind: Kind | None = None,
) -> Comparison:
    """A candidate, and perhaps a baseline, beside the truth."""
    models = [answers({"target": truth, "prediction": guess, **(slices or {})}) for guess in guesses]
    return compared(truth_of(models, ("target",), kind), models[0], tuple(slices or {}))


def facts_of(found: Comparison) -> dict[str, Fact]:
    """What is beside the metrics."""
    return {
        "churn": Fact(value=found.churn.share if found.churn else None, rows=found.rows),
        "rejected": Fact(value=0.99, rows=10_000),
        "breaking_changes": Fact(value=1.0, rows=None),
    }


def evaluation(
    found: Comparison, gates: Sequence[Gate] = (), *, text: str = "a", decisions: Sequence[Decision] = ()
) -> Evaluation:
    """An evaluation around a comparison; `text` stands wherever a name from outside does."""
    label_file: dict[str, Any] = {"environment": {"lock": {"digest": "sha256:1"}}}
    subject = Subject(image=text, run_id=text, provenance="sha256:2", seconds=0.1, label_file=label_file)
    return Evaluation(
        candidate=subject,
        baseline=subject if found.churn else None,
        no_baseline="" if found.churn else text,
        at="2026-11-24T05:00:00.000000Z",
        test_set=TestSet(
            uri=text,
            targets=(text,),
            rows=found.rows,
            rejected={text: 1},
            rejected_by_baseline={text: 1},
            without_target=0,
            fingerprints=(),
        ),
        comparison=found,
        decisions=(*decided(gates, found, facts_of(found)), *decisions),
        differences=(),
    )
