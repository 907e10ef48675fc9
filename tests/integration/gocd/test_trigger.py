"""`runbake gocd trigger` with a real MLflow and the strict double of GoCD."""

from __future__ import annotations

from collections.abc import Iterator

import click.testing
import pytest
from click.testing import CliRunner
from rich.console import Console

from lab.crowd import Crowd, add_crowd
from runbake.cli import cli
from runbake.cli.context import Settings
from runbake.errors import ConfigError, GocdAuthError, NotTriggered, RunNotFound
from runbake.gocd import Note, Routes, TaggedRuns, note_key
from runbake.tracking import Tracking
from tests.contract.gocd.gocd_double import GocdDouble, serving
from tests.integration.gocd.conftest import Promoting
from tests.integration.tracking.faulty_server import answering, standing_before

TOKEN = {"GOCD_TOKEN": "right"}
QUICK = ("--retry", "0.05", "--settle", "0.05")


def invoke(*arguments: str, environment: dict[str, str] | None = None) -> click.testing.Result:
    """The command line, with GoCD's token in the environment."""
    settings = Settings(
        environment=TOKEN if environment is None else environment, console=Console(stderr=True)
    )
    return CliRunner().invoke(cli, ["gocd", "trigger", *QUICK, *arguments], obj=settings)


@pytest.fixture
def gocd() -> Iterator[tuple[GocdDouble, str]]:
    """A double with the pipelines of these tests, and its address."""
    double = GocdDouble("fraud", "wine", appear_after=1)
    with serving(double) as url:
        yield double, url


def started(double: GocdDouble, pipeline: str) -> list[str]:
    """The run ids of a pipeline's runs, in order."""
    return [variables["RUNBAKE_RUN_ID"] for _, _, variables in double.pipelines[pipeline].runs]


def test_promotions_start_their_pipelines_in_order_and_once(
    promoting: Promoting, gocd: tuple[GocdDouble, str]
) -> None:
    """Two promoted between two polls are both built, the earlier promotion first; unfinished ones are not."""
    double, url = gocd
    experiment = promoting.experiment("trigger-order")
    first = promoting.run(experiment, end_ms=9_000_000)
    second = promoting.run(experiment, end_ms=1_000_000)
    promoting.run(experiment, end_ms=2_000_000, status="FAILED", promote="true")
    promoting.run(experiment, end_ms=2_000_000, status="RUNNING", promote="true")
    promoting.promote(second, at_ms=1_700_000_002_000)
    promoting.promote(first, at_ms=1_700_000_001_000)
    command = ("--server", url, "--pipeline", "trigger-order=fraud", "--tracking-uri", promoting.uri)

    listed = invoke("--dry-run", *command)
    assert [line.split('"')[3] for line in listed.stdout.splitlines()] == [first, second]
    assert double.asked == []
    result = invoke("--once", *command)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"{url}/pipelines/value_stream_map/fraud/{n}" for n in (1, 2)]
    assert started(double, "fraud") == [first, second]

    again = invoke("--once", *command)
    assert (again.exit_code, again.stdout) == (0, "")
    assert started(double, "fraud") == [first, second]
    assert started(double, "wine") == []


def test_a_second_promotion_and_a_rollback_start_it_again(
    promoting: Promoting, gocd: tuple[GocdDouble, str]
) -> None:
    """Promoted at another moment: another pipeline. `--run` starts an older run again at any time."""
    double, url = gocd
    experiment = promoting.experiment("trigger-again")
    old, new = (promoting.run(experiment, end_ms=1_000_000 * n) for n in (1, 2))
    command = ("--server", url, "--tracking-uri", promoting.uri)
    once = ("--once", *command, "--pipeline", "trigger-again=wine")
    rollback = ("--run", old, *command, "--pipeline", "wine")
    promoting.promote(old, at_ms=1_700_000_000_000)
    promoting.promote(new, at_ms=1_700_000_001_000)
    assert invoke(*once).exit_code == 0
    for _ in range(2):
        assert invoke(*rollback).exit_code == 0
    assert invoke(*once).stdout == ""
    assert started(double, "wine") == [old, new, old, old]

    promoting.promote(new, at_ms=1_700_000_002_000)
    assert invoke(*once).exit_code == 0
    assert started(double, "wine") == [old, new, old, old, new]
    assert len({variables["RUNBAKE_REQUEST"] for _, _, variables in double.pipelines["wine"].runs}) == 5
    note = Note.parse(promoting.tracking.read_note(old, note_key("wine")))
    assert [counter for _, counter in note.done] == [1, 3, 4]


def test_an_alias_starts_its_models_pipeline(promoting: Promoting, gocd: tuple[GocdDouble, str]) -> None:
    """When it comes to point to another version; models without the alias start nothing."""
    double, url = gocd
    experiment = promoting.experiment("trigger-alias")
    runs = [promoting.run(experiment, end_ms=1_000_000 * n) for n in (1, 2)]
    for name in ("aliased", "other"):
        promoting.client.create_registered_model(name)
        for run in runs:
            place = promoting.client.get_run(run).info.artifact_uri
            promoting.client.create_model_version(name, f"{place}/model", run_id=run)
    command = ("--once", "--alias", "champion", "--pipeline", "fraud", "--server", url)
    for version, expected in (("1", runs[:1]), ("1", runs[:1]), ("2", runs)):
        promoting.client.set_registered_model_alias("aliased", "champion", version)
        result = invoke(*command, "--tracking-uri", promoting.uri)
        assert result.exit_code == 0, (result.output, result.exception)
        assert started(double, "fraud") == expected


def test_a_busy_pipeline_is_waited_for_and_a_wrong_token_is_not(
    promoting: Promoting, gocd: tuple[GocdDouble, str]
) -> None:
    """After --wait it is said which runs are left; a refusal that will not pass ends at once."""
    double, url = gocd
    run = promoting.run(promoting.experiment("trigger-busy"), end_ms=1_000_000, promote="true")
    command = ("--server", url, "--pipeline", "trigger-busy=fraud", "--tracking-uri", promoting.uri)
    double.pipelines["fraud"].paused = True
    left = invoke("--once", "--wait", "0", *command)
    assert isinstance(left.exception, NotTriggered)
    assert run in str(left.exception)
    assert "is paused" in left.stderr
    refused = invoke("--once", "--grace", "5", *command, environment={"GOCD_TOKEN": "viewer"})
    assert isinstance(refused.exception, GocdAuthError)
    assert isinstance(invoke("--once", *command, environment={}).exception, ConfigError)
    assert started(double, "fraud") == []


def test_what_was_promoted_before_a_moment_is_left_alone(promoting: Promoting) -> None:
    """So that a first start on an old server builds nothing old; a misspelt experiment is an error."""
    experiment = promoting.experiment("trigger-since")
    old, new = (promoting.run(experiment, end_ms=1_700_000_000_000 + n, promote="true") for n in (0, 5_000))
    command = ("--dry-run", "--tracking-uri", promoting.uri)
    since = invoke(*command, "--pipeline", "trigger-since=fraud", "--since", "2023-11-14T22:13:22Z")

    assert (new in since.stdout, old in since.stdout) == (True, False)
    unknown = invoke(*command, "--pipeline", "trigger-sinse=fraud")
    assert isinstance(unknown.exception, RunNotFound)
    assert isinstance(invoke(*command, "--pipeline", "a=x", "--pipeline", "a=y").exception, ConfigError)


def test_a_poll_without_news_asks_mlflow_twice(promoting: Promoting) -> None:
    """Experiments and promoted runs, over 200 experiments and 50,000 runs."""
    crowd = Crowd(prefix="poll", first_id=800_000, experiments=200, runs=250, promoted=1)
    add_crowd(promoting.database, crowd)
    routes = Routes.parse(tuple(f"poll-{number}=wine" for number in range(200)))
    with answering(standing_before(promoting.uri)) as server:
        watched = TaggedRuns(Tracking(server.uri), routes)
        ids = {wanted.run_id for wanted in watched.read()}
        before = len(server.asked)
        watched.read()

    assert ids == {crowd.run_id(experiment, 0) for experiment in range(200)}
    assert [asked.path for asked in server.asked[before:]] == [
        "/api/2.0/mlflow/experiments/search",
        "/api/2.0/mlflow/runs/search",
    ]
