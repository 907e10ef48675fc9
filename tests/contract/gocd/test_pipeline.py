"""The pipelines that `runbake gocd pipeline` writes: GoCD's format, current examples, nothing hostile."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from rich.console import Console

from runbake.cli import cli
from runbake.cli.context import Settings
from runbake.errors import ConfigError
from tests.contract.gocd.pipeline_schema import BROKEN, DOCUMENTED, SCHEMA

EXAMPLES = Path(__file__).parents[3] / "examples" / "gocd"
COMMON = (
    "--tracking-uri https://mlflow.example.org --base registry.example.org/base:py311 "
    "--secret MLFLOW_TRACKING_USERNAME=runbake:mlflow_user "
    "--secret MLFLOW_TRACKING_PASSWORD=runbake:mlflow_password "
    "--resource docker "
)
GENERATED = {
    "fraud": f"{COMMON} --model fraud --repository registry.example.org/models/fraud --port 9000 "
    "--git https://git.example.org/ml/pipelines.git "
    "--ami region=eu-central-1 --ami allow-from=203.0.113.7/32 --ami instance-profile=ami-bakery",
    "churn": f"{COMMON} --model churn --repository registry.example.org/models/churn --package mlflow-churn "
    "--test-data s3://ml-data/churn/test.parquet --target churned "
    "--gate metric=balanced_accuracy,worse-by-at-most=1%,on=interval --gate metric=churn,at-most=10%",
}


def written(directory: Path, arguments: str) -> Path:
    """The file that the command writes."""
    result = CliRunner().invoke(
        cli,
        ["gocd", "pipeline", "--directory", str(directory), *shlex.split(arguments)],
        obj=Settings(environment={}, console=Console(stderr=True)),
    )
    if result.exception is not None:
        raise result.exception
    return Path(result.stdout.strip())


def valid(document: object) -> bool:
    """Whether the schema takes it."""
    return Draft202012Validator(SCHEMA).is_valid(document)


def tasks_of(document: dict[str, Any]) -> list[list[str]]:
    """The words of every `exec`, on-cancel ones left out."""
    (pipeline,) = document["pipelines"].values()
    found = []
    for stage in pipeline["stages"]:
        for job in next(iter(stage.values()))["jobs"].values():
            found += [[t["exec"]["command"], *t["exec"]["arguments"]] for t in job["tasks"] if "exec" in t]
    return found


@pytest.mark.parametrize("example", DOCUMENTED)
def test_the_schema_takes_what_the_format_documents(example: str) -> None:
    """So that it refuses nothing that GoCD takes, as far as we use it."""
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(example))


@pytest.mark.parametrize(("what", "old", "new"), BROKEN, ids=[what for what, _, _ in BROKEN])
def test_the_schema_refuses_a_broken_pipeline(what: str, old: str, new: str) -> None:
    """Each break is one change of a pipeline that is valid without it."""
    text = (EXAMPLES / "fraud.gocd.yaml").read_text()
    assert old in text, what
    assert valid(yaml.safe_load(text))
    assert not valid(yaml.safe_load(text.replace(old, new, 1)))


@pytest.mark.parametrize("model", sorted(GENERATED))
def test_the_examples_are_what_the_command_writes(tmp_path: Path, model: str) -> None:
    """Current and valid; write them again with the arguments in this file."""
    path = written(tmp_path, GENERATED[model])

    assert path.name == f"{model}.gocd.yaml"
    assert path.read_text() == (EXAMPLES / path.name).read_text()
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("model", sorted(GENERATED))
def test_every_command_in_the_examples_exists(model: str) -> None:
    """Parsed as the command line parses them, with these options; and GoCD can cancel each of them."""
    document = yaml.safe_load((EXAMPLES / f"{model}.gocd.yaml").read_text())
    long = [words for words in tasks_of(document) if words[0] == "sh"]
    for words in long:
        assert words[:2] == ["sh", "-c"]
        assert words[3:5] == ["sh", "runbake"]
        name, *arguments = words[5:]
        command = cli.commands[name]
        if isinstance(command, click.Group):
            command = command.commands[arguments.pop(0)]
        assert command.make_context(name, arguments, parent=click.Context(cli)).params
    assert str(document).count("on_cancel") == len(long) == len(document["pipelines"][model]["stages"])


@pytest.mark.parametrize("model", sorted(GENERATED))
def test_every_stage_shows_its_document_in_a_tab(model: str) -> None:
    """The page is made also after a failure; documents that a stage fetches were left by an earlier one."""
    (pipeline,) = yaml.safe_load((EXAMPLES / f"{model}.gocd.yaml").read_text())["pipelines"].values()
    left: set[str] = set()
    for stage in pipeline["stages"]:
        ((name, told),) = stage.items()
        job = told["jobs"][name]
        artifacts = {
            f"{each[kind]['destination']}/{each[kind]['source']}"
            for each in job["artifacts"]
            for kind in each
        }
        assert set(job["tabs"].values()) == {each for each in artifacts if each.endswith(".html")}
        assert job["tasks"][-1]["exec"]["run_if"] == "any"
        fetched = [task["fetch"] for task in job["tasks"] if "fetch" in task]
        assert {f"{each['stage']}/{each['source']}" for each in fetched} <= left
        left |= {f"{name}/{each}" for each in artifacts}


@pytest.mark.parametrize("model", sorted(GENERATED))
def test_the_label_names_run_and_request_and_only_the_trigger_starts_a_commit(model: str) -> None:
    """`gocd trigger` finds its run by the label, and the schedule call may set declared variables only."""
    (pipeline,) = yaml.safe_load((EXAMPLES / f"{model}.gocd.yaml").read_text())["pipelines"].values()
    variables = pipeline["environment_variables"]

    assert "${env:RUNBAKE_REQUEST}" in pipeline["label_template"]
    assert variables["RUNBAKE_RUN_ID"] == variables["RUNBAKE_REQUEST"] == ""
    assert variables["MLFLOW_TRACKING_PASSWORD"] == "{{SECRET:[runbake][mlflow_password]}}"
    first = pipeline["stages"][0]["containerize"]
    assert ("approval" in first) == ("git" in pipeline["materials"].get("source", {}))


@pytest.mark.parametrize(
    "arguments",
    [
        "--model fraud --repository r.x/f",
        "--model fraud --repository r.x/f --git https://g.x --package p",
        "--model ../x --repository r.x/f --package p",
        "--model fraud_v2 --repository r.x/f --package p",
        "--model fraud --repository #{x} --package p",
        "--model fraud --repository r.x/f --package p --tracking-uri https://user:word@mlflow.example.org",
        "--model fraud --repository r.x/f --package p --secret PASSWORD=hunter2word",
        "--model fraud --repository r.x/f --package p --test-data s3://b/t.csv",
        "--model fraud --repository r.x/f --package p --gate metric=accuracy,at-least=1",
        "--model fraud --repository r.x/f --package p --ami region=eu-central-1",
        "--model fraud --repository r.x/f --package p --ami allow-from=10.0.0.0/8",
        "--model fraud --repository r.x/f --package p --ami region=eu-1 --ami allow-from=10.0.0.0/8",
        "--model fraud --repository r.x/f --package p --ami region=eu-central-1 --ami allow-from=everybody",
        "--model fraud --repository r.x/f --package p --ami region=eu-central-1 --ami allow-from=10.0.0.0/8 "
        "--ami volume=big",
        "--model fraud --repository r.x/f --package p --ami report=/etc/passwd",
        "--model fraud --repository r.x/f --package p --ami force=yes",
        "--model fraud --repository r.x/f --package p --test-data s3://b/#{x}.csv --target y",
        "--model fraud --repository r.x/f --git https://bot:hunter2word@git.x/m.git",
        "--model fraud --repository r.x/f --git https://hunter2word@git.x/m.git",
        "--model fraud --repository r.x/f --git ssh://git:hunter2word@git.x/m.git",
    ],
)
def test_what_gocd_would_misread_is_refused(tmp_path: Path, arguments: str) -> None:
    """Nothing is written, and no password is shown."""
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, f"{COMMON} {arguments}")
    assert "word@" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["ssh://git@git.x:22/m.git", "git@git.x:m.git", "https://git.x/@scope/m.git"])
def test_the_user_of_ssh_is_no_secret(tmp_path: Path, url: str) -> None:
    """The usual addresses of a repository are taken as they are."""
    path = written(tmp_path, f"{COMMON} --model fraud --repository r.x/f --git {url}")

    assert f"git: {url}" in path.read_text()
