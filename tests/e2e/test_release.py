"""The main job: a promoted run becomes a pushed, proven, running image that leads back to the run."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from sklearn.datasets import load_wine

from runbake.image import Digest
from runbake.tracking import Tracking
from runbake_serving import contract
from tests.e2e.world import ROOT, World, log_wine
from tests.unit.samples import HOSTILE
from tests.unit.test_readme import stage_names


@contextmanager
def served(world: World, image: str) -> Iterator[str]:
    """The address of the image, running in the engine."""
    with world.popen("run", image) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def test_the_last_line_is_the_image_and_the_story_is_on_stderr(world: World, wine_run: str) -> None:
    """stdout holds one reference by digest; every stage is told on stderr."""
    said = world.done("containerize", wine_run, "--repository", f"{world.registry}/story")

    repository, _, digest = said.out.strip().partition("@")
    assert (repository, Digest(digest).hex) == (f"{world.registry}/story", digest[7:])
    # A stage that takes long says twice a minute that it lives.
    stages = list(dict.fromkeys(line.split()[0] for line in said.err.splitlines() if line.startswith("  ")))
    # Model, base and lock are told in the order in which they end.
    assert (stages[:1], sorted(stages[1:4]), stages[4:]) == (
        ["run"],
        ["base", "lock", "model"],
        ["layers", "push", "prove", "attest", "tag", "record"],
    )
    assert sorted(stages) == sorted(stage_names()), "README shows other stages"
    assert world.tags("story") == (f"run-{wine_run[:12]}",)


def test_image_json_hands_over_everything(world: World, wine_run: str) -> None:
    """The document for the next stage names digest, tags, layers, proof and what was sent."""
    said = world.done(
        "containerize", wine_run, "--repository", f"{world.registry}/report", "--tag", "a", "--tag", "b"
    )

    report = world.report()
    assert report["status"] == "done"
    assert report["run"] == wine_run
    assert report["reference"] == said.out.strip()
    assert report["tags"] == [f"{world.registry}/report:a", f"{world.registry}/report:b"]
    assert report["proofs"][0]["kind"] == "example"
    assert report["proofs"][0]["reference"].startswith("mlflow-skinny ")
    assert {layer["name"] for layer in report["platforms"][0]["layers"]} >= {
        "numpy",
        "runtime",
        "model",
        "provenance",
    }


def test_the_image_answers_as_production_runs_it(world: World, wine_image: str) -> None:
    """Read-only, non-root, without capabilities: it predicts, and its headers name the run."""
    data = load_wine(as_frame=True)
    with served(world, wine_image) as url:
        body = {"dataframe_split": json.loads(data.data.head(5).to_json(orient="split"))}
        answer = requests.post(f"{url}/invocations", json=body, timeout=30)
        traced = world.done("trace", url, "--json")
    saved = world.directory / "headers.txt"
    saved.write_text(
        "HTTP/1.1 200 OK\n" + "".join(f"{key}: {text}\n" for key, text in answer.headers.items())
    )
    assert "C=0.5" in world.done("trace", str(saved)).out

    assert answer.json() == {"predictions": ["class_0"] * 5}
    report = json.loads(traced.out)
    assert answer.headers[contract.HEADER_RUN_ID] == report["run"]
    assert answer.headers[contract.HEADER_IMAGE] == wine_image.partition("@")[2]


def test_arrow_is_an_addition(world: World, wine_run: str, wine_image: str) -> None:
    """Without it Parquet is refused, and the answer says how to have it; with it Parquet is read."""
    rows = io.BytesIO()
    load_wine(as_frame=True).data.head(5).to_parquet(rows)
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    with served(world, wine_image) as url:
        refused = requests.post(f"{url}/invocations", data=rows.getvalue(), headers=headers, timeout=30)
    assert refused.status_code == 415
    assert "runbake containerize --with arrow" in refused.text
    name = f"{world.registry}/wine-arrow"
    image = world.done("containerize", wine_run, "--repository", name, "--with", "arrow").out.strip()
    with served(world, image) as url:
        answer = requests.post(f"{url}/invocations", data=rows.getvalue(), headers=headers, timeout=30)
    assert answer.json() == {"predictions": ["class_0"] * 5}


def test_trace_leads_from_everything_to_the_run(world: World, wine_run: str, wine_image: str) -> None:
    """By digest, by tag, from the run itself; with parameters, data and the address of the run's page."""
    by_digest = world.done("trace", wine_image).out
    by_tag = world.done("trace", f"{world.registry}/wine:run-{wine_run[:12]}").out
    forward = world.done("trace", f"runs:/{wine_run}/model").out
    report = world.directory / "traced.json"
    world.done("containerize", wine_run, "--repository", f"{world.registry}/wine", "--report", str(report))
    by_report = world.done("trace", str(report)).out

    for told in (by_digest, by_tag, by_report, forward):
        assert wine_run in told
        assert "C=0.5" in told
        assert "accuracy=" in told
        assert f"{world.mlflow_uri}/#/experiments/" in told
    assert wine_image in forward


def test_trace_works_when_mlflow_is_gone(world: World, wine_run: str, wine_image: str) -> None:
    """What the image carries is enough; that MLflow does not answer is a note, not an error."""
    said = world.done("trace", wine_image, "--tracking-uri", "http://127.0.0.1:9")

    assert wine_run in said.out
    assert "note:" in said.err


def test_the_same_run_gives_the_same_digest_and_sends_nothing(
    world: World, wine_run: str, wine_image: str
) -> None:
    """Another cache, umask and time zone: the same digest; all blobs are there already."""
    other = {"RUNBAKE_CACHE": str(world.directory / "other-cache"), "TZ": "Asia/Kathmandu"}
    command = [
        "containerize",
        wine_run,
        "--repository",
        f"{world.registry}/wine",
        "--no-prove",
        "--allow-unproven",
    ]
    process = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$@"', "sh", "python", "-m", "runbake", *command],
        env={**world.environment, **other, "PATH": f"{ROOT / '.venv' / 'bin'}:{world.environment['PATH']}"},
        cwd=world.directory,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == wine_image
    assert world.report()["transfer"]["sent"] == 0


def test_a_retrained_model_sends_its_own_layers_only(world: World, wine_image: str) -> None:
    """Of a new run in the same environment, the model, the label file and the config travel."""
    again = log_wine(world.mlflow_uri, c=0.1)
    world.done(
        "containerize", again, "--repository", f"{world.registry}/wine", "--no-prove", "--allow-unproven"
    )

    transfer, platform = world.report()["transfer"], world.report()["platforms"][0]
    sizes = {layer["name"]: layer["size"] for layer in platform["layers"]}
    assert transfer["sent"] == 3, "model, provenance, config"
    assert transfer["sentBytes"] < sizes["model"] + sizes["provenance"] + 100_000
    assert world.report()["digest"] != wine_image.partition("@")[2]


def test_the_run_remembers_its_image(world: World, wine_run: str, wine_image: str) -> None:
    """The run carries every image that it became, and which is the latest."""
    stops = dict(Tracking(world.mlflow_uri).stops_of(wine_run))

    assert stops["runbake.image"].startswith(f"{world.registry}/")
    assert wine_image in stops.values()


def test_prove_works_later(world: World, wine_run: str, wine_image: str) -> None:
    """An image in a registry is enough to prove it again, from its own label file."""
    said = world.done("prove", wine_image)

    assert said.out.split() == [wine_image.partition("@")[2], "linux/amd64", "example"]


def test_hostile_text_in_a_run_stays_text(world: World) -> None:
    """Quotes, line breaks, markup and 100 kB in tags and parameters break nothing and execute nothing."""
    run = log_wine(
        world.mlflow_uri,
        tags={"mlflow.runName": HOSTILE, "mlflow.source.git.commit": HOSTILE, "note": "x" * 5000},
        hostile=HOSTILE,
    )
    said = world.done("containerize", run, "--repository", f"{world.registry}/hostile")
    told = world.done("trace", said.out.strip())

    assert "\x1b" not in said.err + told.out
    assert f"label file  {world.report()['platforms'][0]['provenance']}" in told.out
    assert not Path("/tmp/x").exists()  # what HOSTILE would touch


@pytest.mark.parametrize("image_format", ["oci", "docker"])
def test_files_in_place_of_a_push(world: World, wine_run: str, tmp_path: Path, image_format: str) -> None:
    """An OCI layout and an archive are written without any registry of ours; skopeo reads both."""
    layout, archive = tmp_path / "layout", tmp_path / "image.tar"
    said = world.done(
        "containerize", wine_run, "--output", str(layout), "--output", str(archive), "--format", image_format
    )

    digest = said.out.strip()
    inspected = json.loads(
        subprocess.run(["skopeo", "inspect", f"oci:{layout}"], capture_output=True, check=True).stdout
    )
    assert inspected["Digest"] == digest
    assert inspected["Labels"][contract.LABEL_RUN_ID] == wine_run
    with tarfile.open(archive) as found:
        assert f"blobs/sha256/{digest[7:]}" in found.getnames()


def test_dry_run_writes_nothing(world: World, tmp_path: Path) -> None:
    """The plan is JSON with the base by digest; neither registry nor run is touched."""
    run = log_wine(world.mlflow_uri, c=0.7)
    said = world.done("containerize", run, "--repository", f"{world.registry}/dry", "--dry-run", cwd=tmp_path)

    plan = json.loads(said.out)
    assert plan["run"] == run
    assert plan["platforms"][0]["base"] == world.base
    assert world.tags("dry") == ()
    assert list(tmp_path.iterdir()) == []
    assert Tracking(world.mlflow_uri).stops_of(run) == ()


def test_the_latest_of_an_experiment_and_why_it_is(world: World, tmp_path: Path) -> None:
    """By the time of its promotion, else by its end: the story says which. The file names the repository."""
    first, second = (log_wine(world.mlflow_uri, experiment="latest", c=c) for c in (0.3, 0.4))
    (tmp_path / "runbake.toml").write_text(f'[containerize]\nrepository = "{world.registry}/latest"\n')

    by_end = world.done("containerize", "--experiment", "latest", "--dry-run", cwd=tmp_path)
    assert json.loads(by_end.out)["run"] == second
    assert "the latest by its end" in by_end.err

    world.done("promote", first)
    by_promotion = world.done("containerize", "--experiment", "latest", "--dry-run", cwd=tmp_path)
    assert json.loads(by_promotion.out)["run"] == first
    assert "the latest by the time of its promotion" in by_promotion.err
    assert json.loads(by_promotion.out)["repository"] == f"{world.registry}/latest"


def test_an_image_that_always_takes_the_dataframe_path(world: World, wine_run: str, tmp_path: Path) -> None:
    """The way out that a failed proof names is in the image's configuration."""
    plain, always = tmp_path / "plain", tmp_path / "always"
    world.done("render", wine_run, str(plain), "--no-bytecode")
    world.done("render", wine_run, str(always), "--no-bytecode", "--dataframe-path")

    added = set((always / "Dockerfile").read_text().split()) - set((plain / "Dockerfile").read_text().split())
    assert [word for word in added if "DATAFRAME" in word] == ['RUNBAKE_DATAFRAME_PATH="always"']
