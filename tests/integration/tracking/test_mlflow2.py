"""A model logged by the MLflow 2.22 client, on an MLflow 2.22 server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.environments import mlflow2_python
from lab.mlflow_server import running_mlflow
from runbake.errors import AmbiguousModel
from runbake.tracking import ByExperiment, RunRef, Tracking
from tests.integration.tracking.world import World, log_world


@pytest.fixture(scope="module")
def old_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An MLflow 2.22 server with everything that `world_mlflow2.py` logs."""
    # Kept between test runs: making it takes longer than everything here together.
    python = mlflow2_python(Path(tempfile.gettempdir()) / "runbake-tests")
    directory = tmp_path_factory.mktemp("mlflow2")
    with running_mlflow(directory, deadline_s=120, python=python) as uri:
        yield World(uri=uri, directory=directory, ids=log_world("world_mlflow2.py", uri, python))


@pytest.mark.parametrize(
    "text", ["{one}", "runs:/{one}/nested/classifier", "models:/flowers/1", "models:/flowers@champion"]
)
def test_every_reference_leads_to_the_model(old_world: World, text: str) -> None:
    """Run id, runs:/, version and alias lead to the same files of an MLflow 2 model."""
    uri, ids = old_world.uri, old_world.ids
    run = Tracking(uri).fetch_promoted_run(RunRef.parse(text.format(**ids)))
    assert (run.run_id, run.model_id, run.model_name) == (ids["one"], "", "nested/classifier")
    assert [file.path for file in run.files] == [
        "MLmodel",
        "conda.yaml",
        "model.pkl",
        "python_env.yaml",
        "requirements.txt",
    ]
    assert run.params == (("max_iter", "300"),)


def test_the_files_are_fetched(old_world: World, tmp_path: Path) -> None:
    """The model of the latest promoted run is downloaded and described."""
    tracking = Tracking(old_world.uri)
    model = tracking.fetch_model(tracking.fetch_promoted_run(ByExperiment(name="old")), tmp_path / "model")
    assert model.mlflow_version.startswith("2.22.")
    assert [flavor.name for flavor in model.flavors] == ["python_function", "sklearn"]
    assert model.requirements[1:] == ("scikit-learn", "cloudpickle")
    assert model.python_version.startswith("3.")


def test_two_models_are_refused_with_their_paths(old_world: World) -> None:
    """Two models under different paths are ambiguous, and the message names both."""
    uri, ids = old_world.uri, old_world.ids
    with pytest.raises(AmbiguousModel) as caught:
        Tracking(uri).fetch_promoted_run(RunRef.parse(ids["two"]), allow_unpromoted=True)
    assert f"runs:/{ids['two']}/left" in str(caught.value)
    assert f"runs:/{ids['two']}/right" in str(caught.value)


def test_a_model_is_found_without_the_history_tag(old_world: World) -> None:
    """Where MLflow's history tag is gone, a directory with an MLmodel file is the model."""
    uri, ids = old_world.uri, old_world.ids
    run = Tracking(uri).fetch_promoted_run(RunRef.parse(ids["untagged"]), allow_unpromoted=True)
    assert run.model_name == "plain"


def test_the_lock_is_kept_on_the_run(old_world: World) -> None:
    """The lock store works on an MLflow 2 server as well."""
    uri, ids = old_world.uri, old_world.ids
    tracking = Tracking(uri)
    assert tracking.read_lock(ids["one"], "k") is None
    assert tracking.write_lock_once(ids["one"], "k", "{}") == "{}"
    assert tracking.read_lock(ids["one"], "k") == "{}"
