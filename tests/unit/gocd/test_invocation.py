"""GoCD's variables: one run and one job come out, or an error that says what was there."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from runbake.cli import cli
from runbake.cli.context import Settings
from runbake.errors import NotInGocd
from runbake.gocd import escaped, invocation_of, job_run

RUN = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32

JOB = {
    "GO_SERVER_URL": "https://agent:word@ci.example.org:8154/go",
    "GO_PIPELINE_NAME": "fraud",
    "GO_PIPELINE_COUNTER": "7",
    "GO_PIPELINE_LABEL": "7-01234567",
    "GO_STAGE_NAME": "containerize",
    "GO_STAGE_COUNTER": "2",
    "GO_JOB_NAME": "image",
    "GO_TRIGGER_USER": "changes",
}


def a_package(name: str, run: str = RUN) -> dict[str, str]:
    """The variables of one package material, as the plugin's revision gives them."""
    return {
        f"GO_PACKAGE_{name}_LABEL": run,
        f"GO_PACKAGE_{name}_ARTIFACT_URI": f"mlflow-artifacts:/4/{run[:32]}/artifacts",
        f"GO_PACKAGE_{name}_EXPERIMENT_ID": "4",
        f"GO_PACKAGE_{name}_PROMOTION_TAG_NAME": "ship",
        f"GO_PACKAGE_{name}_PROMOTION_TAG_VALUE": "yes",
        f"GO_REPO_{name}_MLFLOW_URL": "https://mlflow.example.org/",
        f"GO_MATERIAL_{name}_HAS_CHANGED": "true",
    }


def test_the_only_package_names_the_run_and_everything_about_it() -> None:
    """Server, experiment, artifacts and tag come from the material; a pull request's runs are left out."""
    job = job_run({**JOB, **a_package("FRAUD", f"{RUN};{OTHER};{OTHER}")})

    assert (str(job.run), job.material, job.experiment_id) == (RUN, "FRAUD", "4")
    assert job.artifact_uri == f"mlflow-artifacts:/4/{RUN}/artifacts"
    assert (job.tracking_uri, job.promote_tag) == ("https://mlflow.example.org", "ship=yes")


def test_of_several_packages_the_named_one_is_taken_and_otherwise_all_are_listed() -> None:
    """The name may be written as in the pipeline, with characters that GoCD replaces."""
    variables = {**a_package("ML_FRAUD_V2"), **a_package("CHURN", OTHER)}

    assert str(job_run(variables, material="ml:fraud-v2").run) == RUN
    assert str(job_run(variables, material="churn").run) == OTHER
    with pytest.raises(NotInGocd, match="2 package materials could name the run: CHURN, ML_FRAUD_V2"):
        job_run(variables)
    with pytest.raises(NotInGocd, match=r"no package material 'wine'.*CHURN, ML_FRAUD_V2"):
        job_run(variables, material="wine")


def test_a_run_given_by_the_trigger_wins_over_a_material_but_not_over_its_name() -> None:
    """A rollback of a pipeline with a package material names an older run."""
    variables = {**a_package("FRAUD"), "RUNBAKE_RUN_ID": OTHER}

    assert str(job_run(variables).run) == OTHER
    assert str(job_run(variables, material="fraud").run) == RUN


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "RUNBAKE_RUN_ID is empty"),
        ({"RUNBAKE_RUN_ID": "latest"}, "RUNBAKE_RUN_ID is 'latest'"),
        (a_package("X", "$(reboot)"), "GO_PACKAGE_X_LABEL"),
        ({"GO_PACKAGE_X_LABEL": RUN}, "nothing names a run"),
        (a_package("X", ";" + RUN), "no run id"),
    ],
)
def test_what_names_no_run_is_an_error(variables: dict[str, str], said: str) -> None:
    """Nothing is guessed, and nothing of it is used as a reference."""
    with pytest.raises(NotInGocd) as caught:
        job_run(variables)
    assert said in str(caught.value)


def test_the_job_is_told_with_its_pages_and_without_credentials() -> None:
    """Locator, URLs and what went in; the password of GoCD's URL is in none of them."""
    upstream = {"GO_DEPENDENCY_LOCATOR_TRAIN": "train/3/fit/1", "GO_REVISION_CODE": "ab12", "GO_X": "no"}
    told = invocation_of({**JOB, **upstream, **a_package("FRAUD")})

    assert told.url == "https://ci.example.org:8154/go/tab/build/detail/fraud/7/containerize/2/image"
    assert told.value_stream_url == "https://ci.example.org:8154/go/pipelines/value_stream_map/fraud/7"
    assert dict(told.revisions) == {
        "GO_DEPENDENCY_LOCATOR_TRAIN": "train/3/fit/1",
        "GO_PACKAGE_FRAUD_LABEL": RUN,
        "GO_REVISION_CODE": "ab12",
    }
    assert told.tags()["runbake.gocd.job"] == told.url
    assert "word" not in f"{told} {told.to_json()} {told.tags()}"


def test_outside_a_job_every_missing_variable_is_named() -> None:
    """So that a half-set environment is mended at once."""
    with pytest.raises(NotInGocd, match="GO_STAGE_NAME, GO_JOB_NAME not set"):
        invocation_of({name: JOB[name] for name in JOB if name not in ("GO_STAGE_NAME", "GO_JOB_NAME")})


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=400), max_size=8))
def test_no_value_of_a_variable_breaks_the_tags(values: dict[str, str]) -> None:
    """Tags stay within MLflow's limits whatever a pipeline's variables say."""
    told = invocation_of({**{f"GO_REVISION_{escaped(k)}": v * 40 for k, v in values.items()}, **JOB})

    assert all(len(key) <= 250 and 0 < len(value) <= 5000 for key, value in told.tags().items())


@given(st.text(max_size=60))
def test_escaping_is_gocds(name: str) -> None:
    """Once is enough, and what comes out can be part of a variable's name."""
    once = escaped(name)
    assert escaped(once) == once


def containerize(environment: dict[str, str], report: Path, *arguments: str) -> BaseException | None:
    """What `runbake containerize` ended with, in a job with these variables."""
    common = ("containerize", "--base", "h.x/b", "--repository", "h.x/n", "--report", str(report))
    settings = Settings(environment=environment, console=Console(stderr=True))
    return CliRunner().invoke(cli, [*common, *arguments], obj=settings).exception


def test_containerize_asks_the_server_that_the_material_names(tmp_path: Path) -> None:
    """Nothing but --from-gocd is needed; a server that the user names is asked in its place."""
    job = {**JOB, **a_package("FRAUD"), "GO_REPO_FRAUD_MLFLOW_URL": "http://127.0.0.1:9/material"}
    report = tmp_path / "image.json"

    assert "127.0.0.1:9/material" in str(containerize(job, report, "--from-gocd"))
    assert '"asked": "--from-gocd"' in report.read_text()
    named = containerize(job, report, "--from-gocd", "--tracking-uri", "http://127.0.0.1:9/mine")
    assert "127.0.0.1:9/mine" in str(named)


def test_from_gocd_outside_a_job_is_refused_and_reported(tmp_path: Path) -> None:
    """The next stage finds a document that says so."""
    error = containerize({"RUNBAKE_RUN_ID": RUN}, tmp_path / "image.json", "--from-gocd")

    assert isinstance(error, NotInGocd)
    assert "NotInGocd" in (tmp_path / "image.json").read_text()
    twice = containerize(JOB, tmp_path / "image.json", "--from-gocd", RUN)
    assert isinstance(twice, SystemExit)
    assert twice.code == 2
