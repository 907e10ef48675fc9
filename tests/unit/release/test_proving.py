"""What a proof takes from an image: nothing that somebody else pushed ends in a traceback."""

from __future__ import annotations

import json

import pytest

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.published import Published
from runbake.registry import ImageRef
from runbake.release.proving import _as_of, subject_of
from tests.unit.samples import a_lock

MODEL = {"flavor": "sklearn", "mlflowVersion": "3.17.2", "signature": None}
LOCK = json.loads(a_lock().to_json())


def published(label_file: dict[str, object]) -> Published:
    """An image in a registry with this label file."""
    digest = Digest.of(b"")
    return Published(
        ref=ImageRef.parse("h.x/n:t"),
        root=digest,
        digest=digest,
        platform="linux/amd64",
        labels={},
        body=b"",
        label_file=label_file,
    )


def test_the_label_file_is_enough() -> None:
    """Lock, flavor and MLflow's version come from it; the digest beside the lock is not part of the lock."""
    subject = subject_of(published({"model": MODEL, "environment": {"lock": {**LOCK, "digest": "x"}}}))

    assert (subject.lock, subject.flavor, subject.mlflow_version) == (a_lock(), "sklearn", "3.17.2")


@pytest.mark.parametrize(
    "label_file",
    [
        {},
        {"model": MODEL},
        {"model": [], "environment": {"lock": LOCK}},
        {"model": MODEL, "environment": {"lock": []}},
        {"model": MODEL, "environment": {"lock": {**LOCK, "wheels": [{"name": "x\n-e ."}]}}},
        {"model": {}, "environment": {"lock": LOCK}},
    ],
)
def test_a_label_file_of_strangers_is_refused(label_file: dict[str, object]) -> None:
    """Whoever can push there may have written it: an error that names the image."""
    with pytest.raises(TraceError, match=r"h\.x/n:t"):
        subject_of(published(label_file))


@pytest.mark.parametrize(
    ("model", "runtime", "expected"),
    [
        ("2026-01", "2026-02", "2026-02"),
        ("2027-01", "2026-02", "2027-01"),
        ("", "2026-02", ""),
        ("2026", "", ""),
    ],
)
def test_the_other_opinion_may_be_younger_than_the_tool(model: str, runtime: str, expected: str) -> None:
    """A model logged by an MLflow that was released after runbake can be proved."""
    assert _as_of(a_lock(model_as_of=model, runtime_as_of=runtime)) == expected
