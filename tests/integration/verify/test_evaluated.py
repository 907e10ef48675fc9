"""`--require-evaluation`: whose word counts, about which image, and which of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbake.attestation import Statement, Subject, open_signer, read_verifying_key
from runbake.attestation.statement import EVALUATION
from runbake.image import Image
from runbake.registry import ImageRef
from runbake.verify import Check, Policy
from runbake_serving.contract import LABEL_PROVENANCE_DIGEST
from tests.integration.attestation.keys import KeyPair, key_pair
from tests.integration.verify.world import Shop, shop


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyPair, KeyPair]:
    """Ours, and somebody else's."""
    return key_pair(tmp_path_factory.mktemp("ours")), key_pair(tmp_path_factory.mktemp("theirs"))


def found(here: Shop, ref: ImageRef, pair: KeyPair) -> Check:
    policy = Policy(keys=(read_verifying_key(pair.public),), require_evaluation=True)
    (check,) = [each for each in here.verified(ref, policy).checks if each.what == "evaluation"]
    return check


def say(here: Shop, image: Image, label_file: str, pair: KeyPair | None, **told: Any) -> None:
    subjects = (Subject(name=here.repository.repository, digest=image.digest),)
    document = {"verdict": "passed", "candidate": {"provenance": label_file}, **told}
    signer = open_signer(str(pair.private)) if pair else None
    here.attach(Statement.of(subjects, EVALUATION, document), image, signer)


def test_an_image_needs_the_word_of_a_trusted_key(
    tmp_path: Path, registry_address: str, keys: tuple[KeyPair, KeyPair]
) -> None:
    """None, an unsigned and a stranger's are none; ours about another model is refused; ours passes."""
    here = shop(tmp_path, registry_address)
    plan, made = here.made()
    ref = here.pushed(made.image)
    here.attested(plan, made, open_signer(str(keys[0].private)))
    label_file = dict(made.provenance[0].labels)[LABEL_PROVENANCE_DIGEST]
    assert (found(here, ref, keys[0]).outcome, "no evaluation of" in found(here, ref, keys[0]).text) == (
        "REFUSED",
        True,
    )
    for pair in (None, keys[1]):
        say(here, made.image, label_file, pair, evaluatedAt="2026-01-01")
        assert "no evaluation of" in found(here, ref, keys[0]).text
    say(here, made.image, f"sha256:{'0' * 64}", keys[0], evaluatedAt="2026-01-01")
    assert (found(here, ref, keys[0]).outcome, "other model files" in found(here, ref, keys[0]).text) == (
        "REFUSED",
        True,
    )
    say(here, made.image, label_file, keys[0], evaluatedAt="2026-01-02")
    assert found(here, ref, keys[0]).outcome == "ok"
    assert all(
        each.what != "evaluation"
        for each in here.verified(ref, Policy(keys=(read_verifying_key(keys[0].public),))).checks
    )


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ([("failed", "2026-01-01"), ("passed", "2026-01-02")], "ok"),
        ([("passed", "2026-01-01"), ("failed", "2026-01-02")], "REFUSED"),
        ([("passed", "2026-01-01"), ("failed", "2026-01-01")], "REFUSED"),
        ([("failed", None), ("passed", "2026-01-01")], "ok"),
        ([("undecidable", "2026-01-01")], "REFUSED"),
        ([("no gates", "2026-01-01")], "REFUSED"),
    ],
)
def test_the_newest_counts_and_only_passed_passes(
    tmp_path: Path,
    registry_address: str,
    keys: tuple[KeyPair, KeyPair],
    told: list[tuple[str, str | None]],
    outcome: str,
) -> None:
    """Whatever the order in the registry; what could not be decided, or had no gates, did not pass."""
    here = shop(tmp_path, registry_address)
    _, made = here.made()
    ref = here.pushed(made.image)
    label_file = dict(made.provenance[0].labels)[LABEL_PROVENANCE_DIGEST]
    for verdict, when in told:
        more = {} if when is None else {"evaluatedAt": when}
        say(here, made.image, label_file, keys[0], verdict=verdict, **more)
    assert found(here, ref, keys[0]).outcome == outcome
