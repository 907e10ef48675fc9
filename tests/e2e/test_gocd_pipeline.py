"""A written pipeline, carried out as GoCD's agents do: each stage in an empty directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from runbake.tracking import Tracking
from tests.e2e.clouds import REGION, running_cloud
from tests.e2e.deploying import BODY, Deployment, deployment
from tests.e2e.train import wines
from tests.e2e.world import World

SERVER = "https://ci.example.org/go"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Carries out stages; only what a job declares as an artifact leaves its directory."""

    pipeline: str
    document: Mapping[str, Any]
    artifacts: Path
    workspaces: Path
    environment: Mapping[str, str]

    def run(self, stage: str) -> str:
        """The stage's only job, task by task, with the variables that GoCD sets; what a failed task said."""
        (name, job), *others = self._stage(stage)["jobs"].items()
        assert others == []
        directory = self.workspaces / stage
        directory.mkdir()
        said = ""
        for task in job["tasks"]:
            ((kind, words),) = task.items()
            # GoCD runs a task after a failed one only where `run_if` says so.
            if said and words.get("run_if") != "any":
                continue
            if kind == "fetch":
                self._fetch(words, directory)
            else:
                said += self._exec(words, directory, stage, name)
        for artifact in job.get("artifacts", ()):
            # GoCD fails a job whose declared artifact is not there.
            ((_, told),) = artifact.items()
            source = directory / told["source"]
            place = self.artifacts / stage / name / told["destination"]
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
        for tab in job["tabs"].values():
            assert (self.artifacts / stage / name / tab).is_file()
        return said

    def _stage(self, stage: str) -> Mapping[str, Any]:
        stages = self.document["pipelines"][self.pipeline]["stages"]
        found: Mapping[str, Any] = next(each[stage] for each in stages if stage in each)
        return found

    def _fetch(self, fetch: Mapping[str, Any], directory: Path) -> None:
        assert fetch["is_file"]
        place = directory / fetch["destination"]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.artifacts / fetch["stage"] / fetch["job"] / fetch["source"], place)

    def _exec(self, words: Mapping[str, Any], directory: Path, stage: str, job: str) -> str:
        variables = {
            "GO_SERVER_URL": SERVER,
            "GO_PIPELINE_NAME": self.pipeline,
            "GO_PIPELINE_COUNTER": "3",
            "GO_PIPELINE_LABEL": "3-label",
            "GO_STAGE_NAME": stage,
            "GO_STAGE_COUNTER": "1",
            "GO_JOB_NAME": job,
            "GO_TRIGGER_USER": "trigger",
        }
        done = subprocess.run(
            [words["command"], *words["arguments"]],
            cwd=directory,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        # GoCD shows the status only: not 0 is failed.
        return f"exited: {done.returncode}\n{done.stdout}{done.stderr}" if done.returncode else ""


@pytest.fixture
def service(world: World) -> Iterator[Deployment]:
    """A name and a free port; nothing is left of it."""
    with deployment(world, f"test-gocd-{os.getpid()}") as made:
        yield made


def agent_of(world: World, service: Deployment, directory: Path, run: str) -> Agent:
    """An agent for a pipeline written now; the variables are what the trigger would fill in."""
    said = world.done(
        *("gocd", "pipeline", "--model", service.name, "--port", str(service.port)),
        *("--git", "https://git.example.org/x.git", "--repository", f"{world.registry}/gocd"),
        *("--test-data", str(directory / "wine.csv"), "--target", "cultivar"),
        *("--gate", "metric=accuracy,at-least=0.9"),
        *("--ami", f"region={REGION}", "--ami", "allow-from=127.0.0.0/8"),
        cwd=directory,
    )
    wines().to_csv(directory / "wine.csv", index=False)
    document = yaml.safe_load((directory / said.out.strip()).read_text())
    declared = document["pipelines"][service.name]["environment_variables"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for place in ("artifacts", "workspaces"):
        (directory / place).mkdir()
    return Agent(
        pipeline=service.name,
        document=document,
        artifacts=directory / "artifacts",
        workspaces=directory / "workspaces",
        environment={**world.environment, **declared, "RUNBAKE_RUN_ID": run, "PATH": path},
    )


@pytest.mark.engine
@pytest.mark.slow
def test_the_written_pipeline_builds_and_deploys(
    world: World, wine_run: str, service: Deployment, tmp_path: Path
) -> None:
    """From the trigger's variables to answers and an AMI; declared artifacts alone are carried over."""
    agent = agent_of(world, service, tmp_path, wine_run)
    with running_cloud(tmp_path) as cloud:
        agent = replace(agent, environment={**agent.environment, **cloud.environment})
        for stage in agent.document["pipelines"][service.name]["stages"]:
            assert agent.run(next(iter(stage))) == ""
        baked = json.loads((agent.artifacts / "ami/ami/runbake/ami.json").read_text())
        (image,) = cloud.client().describe_images(ImageIds=[baked["id"]])["Images"]

    report = json.loads((agent.artifacts / "containerize/containerize/runbake/image.json").read_text())
    job = f"{SERVER}/tab/build/detail/{service.name}/3/containerize/1/containerize"
    assert (report["run"], report["gocd"]["url"]) == (wine_run, job)
    assert dict(Tracking(world.mlflow_uri).stops_of(wine_run))["runbake.gocd.job"] == job
    deployed = json.loads((agent.artifacts / "deploy/deploy/runbake/deployment.json").read_text())
    assert (deployed["run"], deployed["digest"]) == (wine_run, report["digest"])
    assert deployed["gocd"]["url"] == f"{SERVER}/tab/build/detail/{service.name}/3/deploy/1/deploy"
    evaluated = agent.artifacts / "evaluate/evaluate/runbake"
    evaluation = json.loads((evaluated / "evaluation.json").read_text())
    assert (evaluation["verdict"], evaluation["candidate"]["run"]) == ("passed", wine_run)
    assert evaluation["gocd"]["stage"] == "evaluate"
    assert "<h2>Confusion</h2>" in (evaluated / "evaluation.html").read_text()
    assert 'failures="0"' in (evaluated / "evaluation.xml").read_text()
    told = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    bakery = f"{SERVER}/tab/build/detail/{service.name}/3/ami/1/ami"
    assert (baked["digest"], baked["gocd"]["url"], told["runbake.gocd.job"]) == (
        report["digest"],
        bakery,
        bakery,
    )
    assert dict(Tracking(world.mlflow_uri).stops_of(wine_run))["runbake.ami.gocd_job"] == bakery
    page = (agent.artifacts / "containerize/containerize/runbake/image.html").read_text()
    assert report["digest"] in page
    assert f'href="{job}"' in page
    answer = httpx.post(
        f"{service.url}/invocations", content=BODY, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert answer.status_code == 200, answer.text


def test_a_stage_that_fails_leaves_its_document_and_page(
    world: World, service: Deployment, tmp_path: Path
) -> None:
    """GoCD publishes them; the next stage, carried out all the same, deploys nothing and tells so."""
    unknown = "0" * 32
    agent = agent_of(world, service, tmp_path, unknown)

    assert unknown in agent.run("containerize")
    folder = agent.artifacts / "containerize/containerize/runbake"
    assert json.loads((folder / "image.json").read_text())["status"] == "failed"
    assert "RunNotFound" in (folder / "image.html").read_text()
    assert "names no image" in agent.run("deploy")
    told = json.loads((agent.artifacts / "deploy/deploy/runbake/deployment.json").read_text())
    assert (told["status"], told["error"]["kind"]) == ("failed", "ConfigError")
    assert service.containers() == {}
