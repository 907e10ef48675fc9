"""`verify --rebuild`: the same bytes from an empty store, and the cause where they are others."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.e2e.world import World, log_wine
from tests.integration.attestation.keys import key_pair

pytestmark = pytest.mark.engine


def test_an_image_is_built_again_from_its_record(world: World, tmp_path: Path) -> None:
    """Under another clock and in an empty store, by what was signed; a fact changed since then is named."""
    run, keys = log_wine(world.mlflow_uri, c=0.31), key_pair(tmp_path)
    repository = ("--repository", f"{world.registry}/again", "--with", "arrow")
    image = world.done(
        "containerize", run, *repository, "--sign-key", str(keys.private), "--no-prove", "--allow-unproven"
    ).out.strip()
    # The signed statement names the base: none is needed here.
    nowhere = {"RUNBAKE_BASE": ""}
    signed = ("verify", image, "--rebuild", "--key", str(keys.public))
    same = world.done(*signed, env=nowhere)
    assert f"the image is {image.rpartition('@')[2]}" in same.out

    unsigned = world.run("verify", image, "--rebuild", env=nowhere)
    assert unsigned.status == 3
    assert "name the base with --base" in unsigned.err

    # A metric of later has a time, and is left out; a parameter has none.
    client = MlflowClient(world.mlflow_uri)
    client.log_metric(run, "late_metric", 0.5)
    client.log_param(run, "late", "1")
    other = world.run(*signed, env=nowhere)
    assert other.status == 84, other.err
    assert 'cause: run.parameters.late is "1", was missing' in other.err
    assert "layer provenance: /opt/runbake/provenance.json has other content" in other.err
    assert "layer model" not in other.err
