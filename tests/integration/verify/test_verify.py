"""One byte anywhere, a statement of somebody else, a policy: what `verify` says of each."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lab.registry_server import running_registry
from runbake.attestation import Statement, Subject, bundle_of, open_signer, read_verifying_key
from runbake.attestation.statement import SLSA_PROVENANCE
from runbake.image import Image, image_of
from runbake.release import Plan
from runbake.release.assemble import Assembled
from runbake.release.statements import Circumstances, statements_of
from runbake.verify import Policy, Verdict
from tests.integration.attestation.keys import KeyPair, key_pair
from tests.integration.verify.world import MODEL, Shop, layer_of, shop, with_layers

BUILT = Circumstances(builder_id="b", invocation_id="i", started_at="", finished_at="")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyPair, KeyPair]:
    """Ours, and somebody else's."""
    return key_pair(tmp_path_factory.mktemp("ours")), key_pair(tmp_path_factory.mktemp("theirs"))


@pytest.fixture
def here(tmp_path: Path, registry_address: str) -> Shop:
    """A repository of the test's own."""
    return shop(tmp_path, registry_address)


def trusting(pair: KeyPair, **asked: object) -> Policy:
    return Policy(keys=(read_verifying_key(pair.public),), **asked)  # type: ignore[arg-type]


def failed(verdict: Verdict) -> list[str]:
    return [check.what for check in verdict.with_outcome("FAILED")]


def refused(verdict: Verdict) -> list[str]:
    return [check.what for check in verdict.with_outcome("REFUSED")]


def provenance_of(plan: Plan, assembled: Assembled) -> Statement:
    return next(statements_of(plan, assembled, (), ((),), BUILT))[0]


def test_a_true_signed_image_is_verified(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """Layers, label file, labels, model files, signature and provenance are all told as good."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    here.attested(plan, made, open_signer(str(keys[0].private)))
    verdict = here.verified(ref, trusting(keys[0], require_signed=True, builder_ids=("b",)))

    assert {check.outcome for check in verdict.checks} == {"ok"}, verdict.checks
    whats = [check.what for check in verdict.checks]
    assert whats[:4] == ["layers", "label file", "labels", "model files"]
    assert whats[-2:] == ["provenance", "builder"]
    assert whats.count("statement") == 3


def test_unsigned_is_allowed_and_always_told(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """Without a key nothing is refused and every statement is UNSIGNED; with one, the image is refused."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    bare = here.verified(ref)
    here.attested(plan, made, None)
    verdict = here.verified(ref)

    assert [check.what for check in bare.with_outcome("UNSIGNED")] == ["provenance"]
    assert not failed(verdict)
    assert not refused(verdict)
    assert len(verdict.with_outcome("UNSIGNED")) == 3
    assert refused(here.verified(ref, trusting(keys[0]))) == ["provenance"]


def spoilt(plan: Plan, made: Assembled, how: str) -> Image:
    """The image with one thing changed, made anew so that its own digests agree."""
    layers = runtime, model, label_file = made.image.platforms[0].layers
    if how == "model file":
        return with_layers(plan, made, [runtime, layer_of({f"{MODEL}/model.skops": b"abd"}), label_file])
    if how == "hidden file":
        return with_layers(plan, made, [*layers, layer_of({f"{MODEL}/.wh.model.skops": b""})])
    if how == "extra file":
        return with_layers(plan, made, [*layers, layer_of({f"{MODEL}/x.py": b""})])
    if how == "label file":
        body = made.provenance[0].body.replace(b"0.98", b"0.99")
        assert body != made.provenance[0].body
        return with_layers(plan, made, [runtime, model, layer_of({"opt/runbake/provenance.json": body})])
    changed = {"dev.runbake.run-id": "0" * 32} if how == "label" else {"dev.runbake.x": "y"}
    return with_layers(plan, made, layers, **changed)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("model file", "model files"),
        ("hidden file", "model files"),
        ("extra file", "model files"),
        ("label file", "label file"),
        ("label", "labels"),
        ("more labels", "labels"),
    ],
)
def test_an_image_that_was_changed_says_so_itself(
    here: Shop, keys: tuple[KeyPair, KeyPair], how: str, told: str
) -> None:
    """Even without any signature; and no key ever signed it."""
    plan, made = here.made()
    ref = here.pushed(spoilt(plan, made, how))

    assert failed(here.verified(ref)) == [told]
    assert refused(here.verified(ref, trusting(keys[0]))) == ["provenance"]


def test_an_image_of_somebody_else_is_called_that(here: Shop) -> None:
    """Whoever verifies a base by mistake is not told that somebody changed its label file."""
    plan, made = here.made()
    layers = made.image.platforms[0].layers
    ref = here.pushed(with_layers(plan, made, layers, **{"dev.runbake.provenance-digest": ""}))
    (check,) = here.verified(ref).with_outcome("FAILED")
    assert "did not make this image" in check.text


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_byte_of_a_layer_in_the_registrys_storage(position: int, tmp_path: Path) -> None:
    """A damaged blob is named by its digest, whichever layer it is."""
    storage = tmp_path / "registry"
    storage.mkdir()
    with running_registry(storage, deadline_s=60) as address:
        (tmp_path / "shop").mkdir()
        here = shop(tmp_path / "shop", address)
        _, made = here.made()
        ref = here.pushed(made.image)
        digest = made.image.platforms[0].layers[position].blob.digest
        (blob,) = storage.rglob(f"{digest.hex}/data")
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
        (check,) = here.verified(ref).with_outcome("FAILED")

    assert check.what == "layer"
    assert digest in check.text


def test_a_changed_statement_is_nobodys(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """One byte of a signed statement changed: its signature is not ours any more."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    statement = provenance_of(plan, made)
    document = json.loads(bundle_of(statement, open_signer(str(keys[0].private))))
    payload = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b'"id":"b"', b'"id":"c"')
    assert payload != statement.to_bytes()
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    here.attach_bundle(statement, json.dumps(document).encode(), made.image)

    assert refused(here.verified(ref, trusting(keys[0]))) == ["provenance"]


def test_a_statement_of_another_image_is_not_believed(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """Moved to this image, with its good signature: it is about another digest."""
    plan, made = here.made()
    other = with_layers(plan, made, made.image.platforms[0].layers[:-1])
    ref = here.pushed(other)
    here.attach(provenance_of(plan, made), other, open_signer(str(keys[0].private)))
    verdict = here.verified(ref, trusting(keys[0]))

    assert "about another image" in verdict.with_outcome("note")[0].text
    assert "provenance" in refused(verdict)


def test_a_statement_by_another_key_is_not_believed(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """It is told whose it is not, and the image is refused."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    here.attested(plan, made, open_signer(str(keys[1].private)))
    verdict = here.verified(ref, trusting(keys[0], builder_ids=("b",)))

    assert refused(verdict) == ["provenance", "builder"]
    assert any("by none of the keys given" in check.text for check in verdict.checks)


def test_an_index_is_signed_when_each_of_its_manifests_is(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """One signed platform beside an unsigned one vouches for neither it nor the index; a release does."""
    plan, made = here.made()
    ours = open_signer(str(keys[0].private))
    one, other = made.image.platforms[0], with_layers(plan, made, made.image.platforms[0].layers, x="y")
    index = image_of(
        [one, replace(other.platforms[0], platform="linux/arm64")], image_format="oci", annotations={}
    )
    ref = here.pushed(index)
    true = provenance_of(plan, made)
    here.attach(true, made.image, ours)
    mixed = [check.text for check in here.verified(ref, trusting(keys[0])).with_outcome("REFUSED")]

    assert len(mixed) == 1
    assert index.digest in mixed[0]
    assert other.digest in mixed[0]
    assert made.image.digest not in mixed[0]

    subjects = [Subject(name="n", digest=each) for each in (index.digest, made.image.digest, other.digest)]
    here.attach(Statement.of(tuple(subjects), SLSA_PROVENANCE, true.predicate), index, ours)
    assert refused(here.verified(ref, trusting(keys[0]))) == []


def lie_about(statement: Statement) -> Statement:
    document = statement.predicate
    for dependency in document["buildDefinition"]["resolvedDependencies"]:
        if dependency["name"] == "model/model.skops":
            dependency["digest"]["sha256"] = "f" * 64
    return Statement.of(statement.subjects, SLSA_PROVENANCE, document)


def test_of_two_statements_the_false_one_counts_for_nothing(
    here: Shop, keys: tuple[KeyPair, KeyPair]
) -> None:
    """Anybody may attach a lie: with a key it stops nobody; without one, or signed by us, it is a failure."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    true = provenance_of(plan, made)
    ours, theirs = (open_signer(str(pair.private)) for pair in keys)
    here.attach(true, made.image, ours)
    here.attach(lie_about(true), made.image, None)
    here.attach(lie_about(true), made.image, theirs)
    verdict = here.verified(ref, trusting(keys[0]))
    assert not failed(verdict)
    assert not refused(verdict)
    assert "provenance" in failed(here.verified(ref))

    here.attach(lie_about(true), made.image, ours)
    assert failed(here.verified(ref, trusting(keys[0]))) == ["provenance"]


def test_policies_are_about_the_truth(here: Shop, keys: tuple[KeyPair, KeyPair]) -> None:
    """A commit whose cleanness nobody recorded, another builder: refused, with the reason."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    here.attested(plan, made, open_signer(str(keys[0].private)))
    verdict = here.verified(
        ref, trusting(keys[0], builder_ids=("c",), require_clean_commit=True, require_safe_format=True)
    )

    assert {check.what: check.outcome for check in verdict.checks} | {"format": "ok"} == {
        **{check.what: "ok" for check in verdict.checks},
        "commit": "REFUSED",
        "builder": "REFUSED",
    }
    assert any("whether there were changes is not known" in check.text for check in verdict.checks)
