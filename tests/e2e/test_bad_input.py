"""Bad input and broken neighbours: an error of its own, its documented exit status, nothing half-tagged."""

from __future__ import annotations

import base64
import json
import random
import secrets
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import bcrypt
import pytest

from lab.engine import engine
from lab.registry_server import free_port, running_registry
from runbake.errors import (
    BaseImageError,
    BasePlatformMissing,
    NotPromoted,
    ProofFailed,
    RegistryUnreachable,
    RunbakeError,
    RunNotFound,
    TagExists,
    Unproven,
)
from runbake.image import Digest
from runbake_serving import contract
from tests.e2e.world import ROOT, World, log_wine


def assert_refused(
    world: World, error: type[RunbakeError], *arguments: str, env: dict[str, str] | None = None
) -> str:
    """Run containerize, expect this error with its exit status, `error:`, `try:` and a failed image.json."""
    said = world.run("containerize", *arguments, env=env)

    assert said.status == error.exit_code, said.err
    assert said.out == ""
    assert "error: " in said.err
    assert "try:   " in said.err
    assert "Traceback" not in said.err
    report = world.report()
    assert (report["status"], report["error"]["kind"]) == ("failed", error.__name__)
    return said.err


def test_a_run_that_nobody_promoted(world: World) -> None:
    """It is refused with the way to promote it; --unpromoted builds it and records that."""
    run = log_wine(world.mlflow_uri, promoted=False)
    told = assert_refused(world, NotPromoted, run, "--repository", f"{world.registry}/unpromoted")
    assert f"runbake promote {run}" in told.replace("runs:/", "")

    said = world.done(
        "containerize", run, "--unpromoted", "--repository", f"{world.registry}/unpromoted",
        "--no-prove", "--allow-unproven",
    )  # fmt: skip
    assert "not promoted" in said.err
    assert world.report()["promotion"]["how"] == "unpromoted"


def test_the_registry_is_down(world: World, wine_run: str) -> None:
    """Nothing listens: the message names host and port."""
    address = f"127.0.0.1:{free_port()}"
    assert address in assert_refused(world, RegistryUnreachable, wine_run, "--repository", f"{address}/wine")


def test_a_base_that_is_not_there(world: World, wine_run: str) -> None:
    """The message names the base, and the command that makes it."""
    base = f"{world.registry}/no-such-base:1"
    assert "no-such-base" in assert_refused(
        world, BaseImageError, wine_run, "--repository", f"{world.registry}/bad", "--base", base
    )


def test_a_base_without_the_platform(world: World, wine_run: str) -> None:
    """The message lists the platforms that are there."""
    told = assert_refused(
        world,
        BasePlatformMissing,
        wine_run,
        "--repository",
        f"{world.registry}/bad",
        "--platform",
        "linux/arm64",
    )
    assert "linux/amd64" in told


def test_no_engine_means_no_tag(world: World, wine_run: str) -> None:
    """Without an engine the image is pushed by digest only, and the message says how to go on."""
    told = assert_refused(
        world, Unproven, wine_run, "--repository", f"{world.registry}/unproven",
        env={"DOCKER_HOST": "unix:///nonexistent.sock"},
    )  # fmt: skip

    assert "--allow-unproven" in told
    assert world.tags("unproven") == ()


def test_a_taken_tag_is_moved_only_when_asked(world: World, wine_run: str, wine_image: str) -> None:
    """Another image under the tag: refused before anything is sent; --move-tag moves it."""
    other = log_wine(world.mlflow_uri, c=0.2)
    common = ("--tag", "stable", "--repository", f"{world.registry}/taken", "--no-prove", "--allow-unproven")
    world.done("containerize", wine_run, *common)
    before = world.client().resolve("taken", "stable")

    told = assert_refused(world, TagExists, other, *common)
    assert str(before) in told
    assert world.client().resolve("taken", "stable") == before

    moved = world.done("containerize", other, *common, "--move-tag")
    assert moved.out.strip().endswith(str(world.client().resolve("taken", "stable")))
    world.done("containerize", other, *common)  # the same image under the same tag is no conflict


def test_two_builds_of_one_run_at_once(world: World) -> None:
    """Both end well with one digest under one tag."""
    run = log_wine(world.mlflow_uri, c=0.3)
    command = (
        "containerize",
        run,
        "--repository",
        f"{world.registry}/twice",
        "--no-prove",
        "--allow-unproven",
    )
    folders = [world.directory / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    processes = [
        world.popen(*command, cwd=folder, env={"RUNBAKE_CACHE": str(folder / "cache")}) for folder in folders
    ]
    said = [process.communicate(timeout=200) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(world.tags("twice")) == 1


def assert_tags_are_whole(world: World, name: str) -> None:
    """Every tag points to an image whose blobs are all there; before the push there is no tag."""
    registry = world.client()
    for tag in world.tags(name):
        manifest = json.loads(registry.fetch_manifest(name, tag).body)
        for descriptor in (manifest["config"], *manifest["layers"]):
            assert registry.has_blob(name, Digest(descriptor["digest"])), (tag, descriptor)


QUICK = {("push", signal.SIGKILL), ("layers", signal.SIGTERM), ("lock", signal.SIGINT)}
MOMENTS = [
    pytest.param(stage, end, marks=[] if (stage, end) in QUICK else [pytest.mark.slow])
    for stage in ("lock", "layers", "push")
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
]


@pytest.mark.parametrize(("stage", "end"), MOMENTS)
def test_killed_at_any_moment_nothing_is_tagged_and_the_next_run_ends_it(
    world: World, wine_run: str, end: signal.Signals, stage: str
) -> None:
    """Killed after a stage was told: no tag; the same command then finishes."""
    name = f"killed-{stage}-{end.name.lower()}"
    cache = world.directory / name
    command = (
        "containerize", wine_run, "--repository", f"{world.registry}/{name}", "--cache", str(cache),
        "--no-prove", "--allow-unproven", "--no-bytecode",
    )  # fmt: skip
    with world.popen(*command) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.split()[:1] == [stage]:
                process.send_signal(end)
                break
        process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been quicker than the signal
        assert process.returncode in (-end, 130, 143)
        assert_tags_are_whole(world, name)
    if end is not signal.SIGKILL:
        assert not list(cache.glob("tmp-*"))

    done = world.done(*command)
    assert done.out.strip().endswith(str(world.client().resolve(name, f"run-{wine_run[:12]}")))


def test_killed_again_and_again_at_random_moments(world: World, wine_run: str) -> None:
    """SIGKILL whenever it comes leaves whole tags or none; then the same command, and cache, finish."""
    name, cache = "random-kills", world.directory / "random-kills"
    command = (
        "containerize", wine_run, "--repository", f"{world.registry}/{name}", "--cache", str(cache),
        "--no-prove", "--allow-unproven", "--no-bytecode",
    )  # fmt: skip
    seed = secrets.randbits(32)
    moments = random.Random(seed)  # noqa: S311 -- it decides nothing but when to kill
    for _ in range(3):
        with world.popen(*command) as process:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=moments.uniform(0.5, 8))
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL), f"seed {seed}"
        assert_tags_are_whole(world, name)

    done = world.done(*command)
    assert done.out.strip().endswith(str(world.client().resolve(name, f"run-{wine_run[:12]}"))), (
        f"seed {seed}"
    )
    assert not list(cache.glob("tmp-*")), f"seed {seed}"


def test_the_registry_wants_credentials(world: World, wine_run: str, tmp_path: Path) -> None:
    """Without credentials: exit status 52 and `docker login`; the right ones work and are told nowhere."""
    password = secrets.token_hex(16)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    with running_registry(tmp_path / "registry", deadline_s=60, htpasswd=f"me:{hashed}") as address:
        command = (
            "containerize",
            wine_run,
            "--repository",
            f"{address}/wine",
            "--no-prove",
            "--allow-unproven",
        )
        refused = world.run(*command)
        assert (refused.status, f"docker login {address}" in refused.err) == (52, True), refused.err

        config = tmp_path / "docker" / "config.json"
        config.parent.mkdir()
        auth = base64.b64encode(f"me:{password}".encode()).decode()
        config.write_text(json.dumps({"auths": {address: {"auth": auth}}}))
        done = world.done(*command, env={"DOCKER_CONFIG": str(config.parent)})

    told = done.out + done.err + (world.directory / "image.json").read_text()
    assert password not in told
    assert auth not in told


def test_an_image_that_does_not_answer_its_example_gets_no_tag(world: World) -> None:
    """The run's example lacks every column: exit status 62, no tag, and no container is left."""
    run = log_wine(world.mlflow_uri, example="bad")
    told = assert_refused(world, ProofFailed, run, "--repository", f"{world.registry}/wrong")

    assert "answer" in told
    assert world.tags("wrong") == ()
    left = engine().containers.list(
        all=True, filters={"label": f"{contract.LABEL_RUN_ID}={run}"}, ignore_removed=True
    )
    assert left == []


def test_without_an_example_the_signature_makes_the_question(world: World) -> None:
    """A run without an input example is proved by a row made from its signature."""
    run = log_wine(world.mlflow_uri, example="none")
    world.done("containerize", run, "--repository", f"{world.registry}/no-example")

    assert world.report()["proofs"][0]["kind"] == "signature"


def test_the_readme_promises_these_exit_codes() -> None:
    """Each error of this module is in the README's table."""
    text = (ROOT / "README.md").read_text()
    for error in (RunNotFound, NotPromoted, RegistryUnreachable, TagExists, Unproven):
        assert f"| {error.exit_code} | `{error.__name__}`" in text
