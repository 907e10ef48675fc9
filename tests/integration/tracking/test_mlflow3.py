"""Resolving and fetching on a real MLflow 3 server."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest
from uv import find_uv_bin

from runbake.errors import (
    AmbiguousModel,
    ArtifactChanged,
    ArtifactMissing,
    InvalidReference,
    ModelNotReady,
    NoModel,
    NotPromoted,
    RunbakeError,
    RunNotFinished,
    RunNotFound,
    TrackingError,
)
from runbake.gocd import AliasedVersions, Routes
from runbake.tracking import ByExperiment, Change, PromotedRun, RunRef, Tracking
from tests.integration.tracking.world import World

FILES = (
    "MLmodel",
    "conda.yaml",
    "input_example.json",
    "model.skops",
    "python_env.yaml",
    "requirements.txt",
    "serving_input_example.json",
)


@pytest.fixture
def good(world: World, tracking: Tracking) -> PromotedRun:
    """The run that everything is right with."""
    return tracking.fetch_promoted_run(RunRef.parse(world.ids["good"]))


def model_directory(world: World, run: PromotedRun) -> Path:
    """Where the server keeps the model's files on its disk."""
    return world.directory / "artifacts" / run.model_uri.removeprefix("mlflow-artifacts:/")


# --- what a promoted run says --------------------------------------------------------------------------


def test_facts_of_the_run(world: World, good: PromotedRun) -> None:
    """Ids, names, times and files are read; hostile and long text arrives unchanged, sorted by key."""
    assert (good.run_id, good.run_name, good.experiment_name) == (
        world.ids["good"],
        "the good one",
        "iris",
    )
    assert 0 < good.start_time_ms < good.end_time_ms
    assert good.params == (("hostile", world.ids["hostile"]), ("long", "x" * 6000), ("max_iter", "300"))
    assert (good.model_id, good.model_name) == (world.ids["good_model"], "classifier")
    assert (good.registered_name, good.registered_version) == ("", "")
    assert tuple(file.path for file in good.files) == FILES
    assert "\n" in world.ids["hostile"]
    assert good.user


def test_metrics_are_those_of_the_run_s_end(good: PromotedRun) -> None:
    """A value logged after the end is ignored: the last one before it counts, a later metric is absent."""
    assert [(m.name, m.value, m.step) for m in good.metrics] == [("accuracy", 0.97, 0), ("loss", 0.5, 2)]
    assert all(metric.timestamp_ms <= good.end_time_ms for metric in good.metrics)


def test_source_tags_are_allow_listed_and_without_credentials(good: PromotedRun) -> None:
    """Only known mlflow.source tags are read, and a password in the repository's URL is not."""
    tags = dict(good.source_tags)
    assert set(tags) == {
        "mlflow.source.git.branch",
        "mlflow.source.git.commit",
        "mlflow.source.git.repoURL",
        "mlflow.source.name",
        "mlflow.source.type",
    }
    assert tags["mlflow.source.git.repoURL"] == "https://[redacted by runbake]@git.example.com/iris.git"


def test_datasets_carry_context_and_no_credentials(good: PromotedRun) -> None:
    """Every dataset input is read with its context; the source's password is not."""
    assert [(d.name, d.context) for d in good.datasets] == [("held-out", "testing"), ("iris", "training")]
    assert all(len(dataset.digest) == 8 for dataset in good.datasets)
    assert "mlflow_colspec" in good.datasets[1].schema
    assert "u:pw" not in repr(good)


# --- references ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "how", "registered"),
    [
        ("{good}", "tag", ("", "")),
        ("runs:/{good}", "tag", ("", "")),
        ("runs:/{good}/classifier", "tag", ("", "")),
        ("models:/{good_model}", "tag", ("", "")),
        ("models:/flowers/1", "tag", ("flowers", "1")),
        ("models:/flowers@champion", "alias", ("flowers", "1")),
        ("models:/flowers/2", "tag", ("flowers", "2")),
        ("models:/copies/1", "tag", ("copies", "1")),
    ],
)
def test_every_reference_leads_to_the_run(
    world: World, tracking: Tracking, good: PromotedRun, text: str, how: str, registered: tuple[str, str]
) -> None:
    """Each form of RUN gives the same facts; only RUN's own registered name and its promotion differ."""
    ref = RunRef.parse(text.format(**world.ids))
    run = tracking.fetch_promoted_run(ref)
    assert (run.promotion.how, run.registered_name, run.registered_version) == (how, *registered)
    assert run.asked == str(ref)
    common = {"asked": "", "promotion": good.promotion, "registered_name": "", "registered_version": ""}
    assert replace(run, **common) == replace(good, **common)


def test_two_models_under_one_name_are_refused(world: World, tracking: Tracking) -> None:
    """Two models under one name: refused with both ids, and either id works."""
    with pytest.raises(AmbiguousModel) as caught:
        tracking.fetch_promoted_run(RunRef.parse(world.ids["two_same"]), allow_unpromoted=True)
    for name in ("two_same_a", "two_same_b"):
        assert f"models:/{world.ids[name]}" in str(caught.value)
        ref = RunRef.parse(f"models:/{world.ids[name]}")
        assert tracking.fetch_promoted_run(ref, allow_unpromoted=True).model_id == world.ids[name]


def test_two_names_are_refused_unless_one_is_asked_for(world: World, tracking: Tracking) -> None:
    """Several names: refused with a URI for each; runs:/ID/NAME or a model name chooses."""
    run_id = world.ids["two_names"]
    with pytest.raises(AmbiguousModel, match=f"runs:/{run_id}/left, runs:/{run_id}/right"):
        tracking.fetch_promoted_run(RunRef.parse(run_id), allow_unpromoted=True)
    by_uri = tracking.fetch_promoted_run(RunRef.parse(f"runs:/{run_id}/left"), allow_unpromoted=True)
    by_name = tracking.fetch_promoted_run(RunRef.parse(run_id), model_name="right", allow_unpromoted=True)
    assert (by_uri.model_id, by_name.model_id) == (world.ids["left"], world.ids["right"])
    with pytest.raises(InvalidReference, match=r"'left'.*'right'"):
        tracking.fetch_promoted_run(RunRef.parse(f"runs:/{run_id}/left"), model_name="right")
    with pytest.raises(InvalidReference, match="is the model 'classifier', and not 'right'"):
        tracking.fetch_promoted_run(RunRef.parse("models:/flowers@champion"), model_name="right")


def test_more_models_than_a_page(world: World, tracking: Tracking) -> None:
    """The 120th model of a run is found although the server hands out fewer at a time."""
    with pytest.raises(AmbiguousModel, match="has 120 models"):
        tracking.fetch_promoted_run(RunRef.parse(world.ids["many"]), allow_unpromoted=True)
    with pytest.raises(ArtifactMissing, match="'step-119' has no file MLmodel"):
        tracking.fetch_promoted_run(
            RunRef.parse(f"runs:/{world.ids['many']}/step-119"), allow_unpromoted=True
        )


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("f" * 32, RunNotFound, "has no run ffff"),
        ("models:/m-" + "f" * 32, RunNotFound, "has no model models:/m-ffff"),
        ("models:/flowers/9", RunNotFound, "models:/flowers/9"),
        ("models:/flowers@nobody", RunNotFound, "models:/flowers@nobody"),
        ("models:/nothing/1", RunNotFound, "models:/nothing/1"),
        ("{deleted}", RunNotFound, "was deleted"),
        ("models:/orphan/1", RunNotFound, r"\(of models:/orphan/1\) was deleted"),
        ("models:/{outside_model}", RunNotFound, "outside a run"),
        ("{failed}", RunNotFinished, "{failed} has the status FAILED"),
        ("{killed}", RunNotFinished, "{killed} has the status KILLED"),
        ("{running}", RunNotFinished, "{running} has the status RUNNING"),
        ("{no_model}", NoModel, "logged no model"),
        ("runs:/{good}/other", NoModel, "no model named 'other'; it has classifier"),
        ("{pending}", ModelNotReady, "{pending_model} has the status PENDING"),
        ("models:/{pending_model}", ModelNotReady, "{pending_model} has the status PENDING"),
        ("{failed_model_run}", ModelNotReady, "has the status FAILED"),
    ],
)
def test_what_cannot_be_built_says_why(
    world: World, tracking: Tracking, text: str, error: type[RunbakeError], says: str
) -> None:
    """Each kind of unusable run is an error of its own that names the thing, and has a hint."""
    ref = RunRef.parse(text.format(**world.ids))
    with pytest.raises(error, match=says.format(**world.ids)) as caught:
        tracking.fetch_promoted_run(ref, allow_unpromoted=True)
    assert type(caught.value) is error
    assert caught.value.hint


# --- promotion -----------------------------------------------------------------------------------------


def test_an_unpromoted_run_is_refused_or_recorded(world: World, tracking: Tracking) -> None:
    """Without tag or alias a run is refused with the command that promotes it; --unpromoted is recorded."""
    ref = RunRef.parse(world.ids["quiet"])
    with pytest.raises(NotPromoted) as caught:
        tracking.fetch_promoted_run(ref)
    assert f"runbake promote {world.ids['quiet']}" in caught.value.hint
    assert "--unpromoted" in caught.value.hint
    assert tracking.fetch_promoted_run(ref, allow_unpromoted=True).promotion.how == "unpromoted"


def test_promote_orders_an_experiment_and_demote_undoes_it(world: World, tracking: Tracking) -> None:
    """--experiment takes the run promoted last, whatever ended last; demoting gives it to the next."""
    experiment = ByExperiment(name="quiet")
    with pytest.raises(NotPromoted, match="no finished run of experiment 'quiet'"):
        tracking.fetch_promoted_run(experiment)
    for name, now_ms in (("third", 1_900_000_000_000), ("first", 1_900_000_000_500)):
        ref = RunRef.parse(world.ids[name])
        run_id, changes = tracking.promote(ref, now_ms=now_ms)
        assert run_id == world.ids[name]
        assert changes[0] == Change(tag="promote", before=None, after="true")
    latest = tracking.fetch_promoted_run(experiment)
    assert (latest.run_name, latest.asked) == ("first", "--experiment quiet")
    assert latest.promotion.at_ms == 1_900_000_000_500
    assert (latest.promotion.how, latest.promotion.ordered_by) == ("tag", "promoted_at")
    assert [summary.run_name for summary in tracking.promoted("quiet")] == ["first", "third"]
    assert {"the good one", "first", "third"} <= {summary.run_name for summary in tracking.promoted()}
    run_id, changes = tracking.demote(RunRef.parse(world.ids["first"]))
    assert run_id == world.ids["first"]
    assert changes == (
        Change(tag="promote", before="true", after=None),
        Change(tag="runbake.promoted_at", before="2030-03-17T17:46:40.500Z", after=None),
    )
    assert tracking.fetch_promoted_run(experiment).run_name == "third"
    tracking.demote(RunRef.parse(world.ids["third"]))
    tracking.demote(RunRef.parse(world.ids["third"]))
    assert tracking.promoted("quiet") == ()


def test_only_finished_runs_are_the_latest(world: World, tracking: Tracking) -> None:
    """A failed, killed or running run with the tag is listed, but never the experiment's latest."""
    run = tracking.fetch_promoted_run(ByExperiment(name="iris"))
    assert run.run_id == world.ids["good"]
    assert run.promotion.ordered_by == "end_time"
    assert {s.status for s in tracking.promoted("iris")} == {"FINISHED", "FAILED", "KILLED", "RUNNING"}
    with pytest.raises(RunNotFinished):
        tracking.promote(RunRef.parse(world.ids["running"]), now_ms=0)


def test_a_model_is_promoted_by_a_name_that_it_has(world: World, tracking: Tracking) -> None:
    """A misspelt name promotes nothing, and the error lists the names that there are."""
    with pytest.raises(NoModel, match="no model named 'modell'; it has"):
        tracking.promote(RunRef.parse(f"runs:/{world.ids['good']}/modell"), now_ms=0)
    with pytest.raises(RunNotFound, match="models:/flowerz/1"):
        tracking.promote(RunRef.parse("models:/flowerz/1"), now_ms=0)


def test_an_alias_on_what_cannot_be_built_yet_loses_no_promotion(world: World, tracking: Tracking) -> None:
    """A run that goes on and a model that is not ready are told once, asked again, and hold up no other."""
    from mlflow import MlflowClient

    client = MlflowClient(world.uri)
    run_id = client.create_run("0").info.run_id
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    pending, good = world.ids["pending_model"], world.ids["good_model"]
    for name, place, run, model in (
        ("a-going", source, run_id, None),
        ("b-pending", f"models:/{pending}", None, pending),
        ("c-good", f"models:/{good}", None, good),
    ):
        client.create_registered_model(name)
        version = client.create_model_version(
            name, place, run_id=run, model_id=model, await_creation_for=None
        )
        client.set_registered_model_alias(name, "soon", version.version)
    told: list[str] = []
    watched = AliasedVersions(tracking, Routes.parse(("p",)), alias="soon", tell=told.append)

    assert [wanted.of for wanted in (*watched.read(), *watched.read())] == ["c-good", "c-good"]
    assert [line.split()[0] for line in told] == ["models:/a-going/1", "models:/b-pending/1"]
    client.set_terminated(run_id)
    assert [wanted.of for wanted in watched.read()] == ["a-going", "c-good"]
    assert len(told) == 2


def test_a_run_is_recorded_in_whatever_state_it_is(world: World, tracking: Tracking) -> None:
    """What it logged, the versions registered from it with their aliases, and its state."""
    record = tracking.record_of(RunRef.parse("models:/flowers@champion"))
    built = tracking.fetch_promoted_run(RunRef.parse("models:/flowers@champion"))
    assert (record.run_id, record.params, record.metrics) == (built.run_id, built.params, built.metrics)
    assert record.status == "FINISHED"
    assert (built.model_name, built.model_id) in record.models
    assert "champion" in {alias for one in record.versions for alias in one.aliases}
    running = tracking.record_of(RunRef.parse(world.ids["running"]))
    assert (running.status, running.end_time_ms) == ("RUNNING", 0)


def test_the_promotion_tag_can_be_named(world: World) -> None:
    """Another tag name and value decides instead."""
    tracking = Tracking(world.uri, promote_tag=("stage of life", "prod/eu"))
    ref = RunRef.parse(world.ids["second"])
    with pytest.raises(NotPromoted, match="stage of life=prod/eu"):
        tracking.fetch_promoted_run(ref)
    tracking.promote(ref, now_ms=1_900_000_000_000)
    assert tracking.fetch_promoted_run(ByExperiment(name="quiet")).run_id == world.ids["second"]


def test_a_version_with_an_alias_counts_as_promoted(world: World, tracking: Tracking) -> None:
    """An untagged run is promoted where RUN names a version that has an alias; its id alone is not."""
    untagged = Tracking(world.uri, promote_tag=("never", "set"))
    promotion = untagged.fetch_promoted_run(RunRef.parse("models:/flowers/1")).promotion
    assert (promotion.how, promotion.detail, promotion.at_ms) == ("version", "champion", None)
    for text in ("models:/flowers/2", f"models:/{world.ids['good_model']}", world.ids["good"]):
        with pytest.raises(NotPromoted):
            untagged.fetch_promoted_run(RunRef.parse(text))


def test_an_unknown_experiment_is_named(tracking: Tracking) -> None:
    """An experiment that is not there is an error that names it."""
    with pytest.raises(RunNotFound, match="no experiment named 'nowhere'"):
        tracking.fetch_promoted_run(ByExperiment(name="nowhere"))


# --- fetching ------------------------------------------------------------------------------------------


def test_the_model_is_fetched_and_described(
    world: World, tracking: Tracking, good: PromotedRun, tmp_path: Path
) -> None:
    """Every file arrives with the digest of what the server has; the model's own description is read."""
    seen: list[tuple[int, int]] = []
    model = tracking.fetch_model(good, tmp_path / "model", progress=lambda *now: seen.append(now))
    stored = model_directory(world, good)
    assert [(f.path, f.sha256) for f in model.files] == [
        (path, hashlib.sha256((stored / path).read_bytes()).hexdigest()) for path in FILES
    ]
    assert {p.name for p in model.root.iterdir()} == set(FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["model"], "nothing is left beside it"
    total = sum(file.size_bytes for file in good.files)
    assert seen[-1] == (total, total)
    assert [flavor.name for flavor in model.flavors] == ["python_function", "sklearn"]
    assert model.requirements[1:] == ("scikit-learn==1.9.1", "skops")
    assert model.python_version == ".".join(map(str, sys.version_info[:3]))
    assert '"name":"sepal length (cm)"' in model.signature_json
    description = tracking.describe_model(good)
    assert all(getattr(model, each.name) == getattr(description, each.name) for each in fields(description))


def test_a_description_that_changes_under_way_is_noticed(
    tracking: Tracking, good: PromotedRun, tmp_path: Path
) -> None:
    """What was planned from must be what is fetched, also when all sizes stay."""
    other = replace(tracking.describe_model(good), requirements=("another",))
    with pytest.raises(ArtifactChanged, match="description"):
        tracking.fetch_model(good, tmp_path / "model", described=other)
    assert list(tmp_path.iterdir()) == []


class Enough(Exception):
    """Somebody does not want the rest."""


def test_what_progress_raises_ends_the_download(
    tracking: Tracking, good: PromotedRun, tmp_path: Path
) -> None:
    """An interruption out of the progress callback leaves the download at once, and nothing on the disk."""
    calls: list[int] = []

    def progress(done: int, _total: int) -> None:
        calls.append(done)
        if done:
            raise Enough

    with pytest.raises(Enough):
        tracking.fetch_model(good, tmp_path / "model", progress=progress)
    assert max(calls) < sum(file.size_bytes for file in good.files)
    assert list(tmp_path.iterdir()) == []


def test_the_meta_file_of_mlflow_s_own_download_is_left_out(
    world: World, tracking: Tracking, good: PromotedRun, tmp_path: Path
) -> None:
    """`registered_model_meta` at the top is no part of the model."""
    meta = model_directory(world, good) / "registered_model_meta"
    meta.write_text("model_name: flowers\n")
    try:
        again = tracking.fetch_promoted_run(RunRef.parse(world.ids["good"]))
        assert again == good
        tracking.fetch_model(again, tmp_path / "model")
    finally:
        meta.unlink()
    assert not (tmp_path / "model" / "registered_model_meta").exists()


def test_the_destination_may_hold_the_same_model_only(
    tracking: Tracking, good: PromotedRun, tmp_path: Path
) -> None:
    """Fetching twice to one place gives the same; a place with anything else is refused and kept."""
    first = tracking.fetch_model(good, tmp_path / "model")
    assert tracking.fetch_model(good, tmp_path / "model") == first
    (tmp_path / "model" / "mine.txt").write_text("keep me")
    with pytest.raises(TrackingError, match="holds something else"):
        tracking.fetch_model(good, tmp_path / "model")
    assert (tmp_path / "model" / "mine.txt").read_text() == "keep me"


def test_two_at_once_fetch_the_same_model(world: World, good: PromotedRun, tmp_path: Path) -> None:
    """Fetches that overlap both succeed, and leave one whole model."""
    both = threading.Barrier(2, timeout=30)

    def one(_number: int) -> tuple[str, ...]:
        # A model of several files is read by several threads; the first of them waits for the other fetch.
        once = threading.Lock()
        waited: list[bool] = []

        def wait_once(_done: int, _total: int) -> None:
            with once:
                if not waited:
                    waited.append(True)
                    both.wait()

        model = Tracking(world.uri).fetch_model(good, tmp_path / "model", progress=wait_once)
        return tuple(file.sha256 for file in model.files)

    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(one, range(2))
    assert left == right
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("change", ["grown", "added", "removed"])
def test_a_change_under_way_is_noticed(
    world: World, tracking: Tracking, good: PromotedRun, tmp_path: Path, change: str
) -> None:
    """A file that grows, appears or vanishes while the model is read is an error, and nothing is left."""
    stored = model_directory(world, good)
    spare = tmp_path / "spare"
    shutil.copytree(stored, spare)

    def meddle(done: int, total: int) -> None:
        if done == total:
            match change:
                case "grown":
                    (stored / "model.skops").write_bytes(b"longer" * 10_000)
                case "added":
                    (stored / "late.txt").write_text("late")
                case _:
                    (stored / "conda.yaml").unlink(missing_ok=True)

    try:
        with pytest.raises(ArtifactChanged, match=r"model\.skops|late\.txt|conda\.yaml") as caught:
            tracking.fetch_model(good, tmp_path / "model", progress=meddle)
    finally:
        shutil.rmtree(stored)
        shutil.copytree(spare, stored)
    assert caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["spare"]


def test_a_listed_file_that_is_gone_is_missing(
    world: World, tracking: Tracking, good: PromotedRun, tmp_path: Path
) -> None:
    """A file deleted on the server's disk after it was listed is an error of its own."""
    file = model_directory(world, good) / "model.skops"
    content = file.read_bytes()
    file.unlink()
    try:
        with pytest.raises(ArtifactMissing, match="classifier"):
            tracking.fetch_model(good, tmp_path / "model")
    finally:
        file.write_bytes(content)
    assert list(tmp_path.iterdir()) == []


def test_malformed_mlmodel_names_the_line(world: World, tracking: Tracking, tmp_path: Path) -> None:
    """A model under an old-style artifact path is found; its broken MLmodel is refused with the line."""
    ref = RunRef.parse(f"runs:/{world.ids['old_style']}/old/style")
    run = tracking.fetch_promoted_run(ref, allow_unpromoted=True)
    assert (run.model_id, run.model_name) == ("", "old/style")
    with pytest.raises(NoModel, match=r"MLmodel, line 3"):
        tracking.fetch_model(run, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_skinny_alone_fetches_a_large_model_in_little_memory(world: World, tmp_path: Path) -> None:
    """With mlflow-skinny only (no numpy, no pandas), 600 MB are fetched in under 300 MB of memory.

    The run and the process that reads it are named on the command line; mlflow's chatter stays quiet.
    """
    run = Tracking(world.uri).fetch_promoted_run(RunRef.parse(world.ids["quiet"]), allow_unpromoted=True)
    with (model_directory(world, run) / "weights.bin").open("wb") as weights:
        weights.truncate(600 << 20)
    venv = tmp_path / "venv"
    packages = ("mlflow-skinny>=3.1,<4", "requests", "tenacity", "PyYAML")
    for arguments in (
        ("venv", "-q", "-p", sys.executable, venv),
        ("pip", "install", "-q", "-p", venv, *packages),
    ):
        subprocess.run([find_uv_bin(), *arguments], check=True, timeout=120)
    try:
        done = subprocess.run(
            [venv / "bin" / "python", "-c", SKINNY, world.uri, world.ids["quiet"], tmp_path / "model"],
            env={"PYTHONPATH": "builder:serving_template", "PATH": "/usr/bin:/bin"},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        (model_directory(world, run) / "weights.bin").unlink()
    assert (done.returncode, done.stderr) == (0, "")
    size_bytes, peak_mib = map(int, done.stdout.split())
    assert size_bytes == 600 << 20
    assert peak_mib < 300


SKINNY = """
import importlib.util, os, sys
from pathlib import Path
from runbake.tracking import RunRef, Tracking, use_mlflow_defaults
assert "mlflow" not in sys.modules
assert not any(map(importlib.util.find_spec, ("numpy", "pandas", "sklearn")))
use_mlflow_defaults(os.environ)
uri, run_id, target = sys.argv[1:]
tracking = Tracking(uri)
run = tracking.fetch_promoted_run(RunRef.parse(run_id), allow_unpromoted=True)
model = tracking.fetch_model(run, Path(target))
sizes = {file.path: file.size_bytes for file in model.files}
# Not getrusage: Linux hands the parent's peak on through fork and exec.
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(sizes["weights.bin"], int(peak[0]) // 1024)
"""


# --- notes on the run ----------------------------------------------------------------------------------


def test_a_lock_is_written_once(world: World, tracking: Tracking) -> None:
    """The first lock under a key stays; a second writer gets the first; replacing is another word."""
    run_id = world.ids["good"]
    assert tracking.read_lock(run_id, "abc123") is None
    assert tracking.write_lock_once(run_id, "abc123", '{"first": "é"}\n') == '{"first": "é"}\n'
    assert tracking.write_lock_once(run_id, "abc123", '{"second": 1}\n') == '{"first": "é"}\n'
    assert tracking.read_lock(run_id, "abc123") == '{"first": "é"}\n'
    assert tracking.read_lock(run_id, "another") is None
    assert tracking.replace_lock(run_id, "abc123", "{}") == "{}"
    with pytest.raises(ValueError, match="not a key of locks"):
        tracking.read_lock(run_id, "../../escape")


def test_a_lock_on_the_run_leaves_its_facts_alone(
    world: World, tracking: Tracking, good: PromotedRun
) -> None:
    """Locks and image tags written after the end change nothing that goes into the image."""
    tracking.write_lock_once(world.ids["good"], "later", "{}")
    tracking.record_image(world.ids["good"], {"runbake.image": "localhost/x@sha256:" + "0" * 64})
    assert tracking.fetch_promoted_run(RunRef.parse(world.ids["good"])) == good


def test_image_tags_keep_to_mlflow_s_limits(world: World, tracking: Tracking) -> None:
    """A tag that MLflow would refuse is refused with its name; nothing is written."""
    with pytest.raises(TrackingError, match=r"'runbake\.long': value of 5001"):
        tracking.record_image(world.ids["good"], {"runbake.fine": "x", "runbake.long": "x" * 5001})
    with pytest.raises(TrackingError, match=r"'a\\nb': name"):
        tracking.record_image(world.ids["good"], {"a\nb": "x"})


def test_the_run_s_page(world: World, tracking: Tracking, good: PromotedRun) -> None:
    """The link to the run in MLflow's interface."""
    assert (
        tracking.page_of_run(good.run_id)
        == f"{world.uri}/#/experiments/{good.experiment_id}/runs/{good.run_id}"
    )
