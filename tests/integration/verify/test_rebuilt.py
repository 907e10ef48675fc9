"""An image beside what came of building it again: what differs is told by layer, file and cause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbake.attestation import open_signer, read_verifying_key
from runbake.errors import VerificationFailed
from runbake.image import Image
from runbake.registry import ImageRef
from runbake.verify import Check, Policy, Rebuilt, read_record, rebuild_checks
from tests.integration.attestation.keys import KeyPair, key_pair
from tests.integration.verify.world import Shop, layer_of, shop, with_layers


@pytest.fixture
def here(tmp_path: Path, registry_address: str) -> Shop:
    """A repository of the test's own."""
    return shop(tmp_path, registry_address)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """A key that is trusted."""
    return key_pair(tmp_path_factory.mktemp("keys"))


def checked(
    here: Shop, ref: ImageRef, image: Image, label_file: Mapping[str, Any], policy: Policy | None = None
) -> tuple[Check, ...]:
    record = read_record(ref, here.registry, policy or Policy())
    return tuple(
        rebuild_checks(
            record,
            Rebuilt(image=image, label_files=(label_file,)),
            lambda layer, path: here.registry.fetch_blob(ref.name, layer, path),
            here.directory,
        )
    )


def told(checks: tuple[Check, ...]) -> list[str]:
    return [check.text for check in checks if check.outcome == "DIFFERS"]


def test_the_same_image_is_the_same(here: Shop, keys: KeyPair) -> None:
    """By a trusted key there is one check; without, it is told that anybody may have set the build."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    here.attested(plan, made, open_signer(str(keys.private)))
    label_file = json.loads(made.provenance[0].body)
    trusting = Policy(keys=(read_verifying_key(keys.public),))

    assert [each.outcome for each in checked(here, ref, made.image, label_file, trusting)] == ["ok"]
    assert [each.outcome for each in checked(here, ref, made.image, label_file)] == ["UNSIGNED", "ok"]


def test_the_layer_and_the_files_that_differ_are_named(here: Shop) -> None:
    """One changed, one more and one missing, in the one layer that is another."""
    plan, made = here.made()
    layers = made.image.platforms[0].layers
    was = with_layers(plan, made, (layer_of({"a": b"1", "b": b"1", "same": b"1"}), *layers[1:]))
    now = with_layers(plan, made, (layer_of({"a": b"2", "c": b"1", "same": b"1"}), *layers[1:]))
    ref = here.pushed(was)
    here.attested(plan, replace(made, image=was), None)
    found = told(checked(here, ref, now, json.loads(made.provenance[0].body)))

    assert len(found) == 2, found
    assert found[0].startswith("built again from its record, the image is ")
    wanted = "/a has other content; /b is in the image only; /c is in the rebuild only"
    assert found[1] == f"linux/amd64: layer spoilt: {wanted}"


def test_causes_come_first(here: Shop) -> None:
    """Another version of the tool, a metric that was logged later, a lock: by the label files."""
    plan, made = here.made()
    ref = here.pushed(made.image)
    here.attested(plan, made, None)
    layers = made.image.platforms[0].layers
    other = with_layers(plan, made, layers[:-1])
    now = json.loads(made.provenance[0].body)
    now["tool"]["version"] = "99.0"
    now["run"]["metrics"]["late"] = {"value": 1.0, "step": 0}
    found = told(checked(here, ref, other, now))

    assert "cause: it was built by runbake" in found[1]
    assert "this is 99.0" in found[1]
    assert 'cause: run.metrics.late is {"value": 1.0, "step": 0}, was missing' in found[2]
    assert "is in the image only" in found[3]


def test_an_image_that_nobody_spoke_of_is_refused(here: Shop) -> None:
    """Its settings are nowhere."""
    _, made = here.made()
    ref = here.pushed(made.image)
    with pytest.raises(VerificationFailed, match="no SLSA provenance"):
        read_record(ref, here.registry, Policy())
