"""Runs and models that cannot be built, each refused by the command with an error of its own."""

from __future__ import annotations

import pytest

from runbake.errors import (
    AmbiguousModel,
    ArtifactMissing,
    BasePlatformMissing,
    InvalidReference,
    ModelNotReady,
    NoModel,
    NotPromoted,
    NoWheel,
    PythonMismatch,
    RunbakeError,
    RunNotFinished,
    RunNotFound,
    Unresolvable,
    UnsafePath,
    UnsupportedFlavor,
)
from tests.e2e.refusal import QUICKLY, cases, refused
from tests.e2e.world import World

NOWHERE = {
    "unknown run": ("f" * 32, RunNotFound, ("f" * 32, "MLFLOW_TRACKING_URI")),
    "unknown model": (f"models:/m-{'f' * 32}", RunNotFound, (f"m-{'f' * 32}",)),
    "unknown version": ("models:/nobody/3", RunNotFound, ("models:/nobody/3",)),
    "unknown alias": ("models:/nobody@champion", RunNotFound, ("models:/nobody@champion",)),
    "no reference": ("s3://bucket/model", InvalidReference, ("s3://bucket/model",)),
    "a line break": ("runs:/abc\nerror: forged", InvalidReference, ("abc",)),
}
"""What is asked for, the error, and words that it must hold."""

ODD: dict[str, tuple[type[RunbakeError], tuple[str, ...]]] = {
    "failed": (RunNotFinished, ("FAILED", "only finished runs")),
    "killed": (RunNotFinished, ("KILLED", "only finished runs")),
    "running": (RunNotFinished, ("RUNNING", "wait for it to end")),
    "no-model": (NoModel, ("logged no model", "log_model")),
    "pending": (ModelNotReady, ("PENDING", "Log it again")),
    "two-models": (AmbiguousModel, ("2 models", "models:/m-")),
    "no-files": (ArtifactMissing, ("no file MLmodel",)),
    "no-estimator": (ArtifactMissing, ("MLmodel names", "'model.skops'")),
    "broken-mlmodel": (NoModel, ("MLmodel", "line 2")),
    "other-flavor": (UnsupportedFlavor, ("crate",)),
    "linked": (UnsafePath, ("'hosts'", "symbolic link")),
    "other-python": (PythonMismatch, ("3.14", "3.11", "--base")),
    "contradiction": (Unresolvable, ("numpy==2.1.0", "pip_requirements")),
    "no-such-package": (Unresolvable, ("runbake-there-is-no-such-package", "pip_requirements")),
    "sdist-only": (NoWheel, ("docopt==0.6.2", "wheelhouse", "UV_FIND_LINKS")),
    "git": (NoWheel, ("not a release on a package index", "UV_FIND_LINKS")),
    "named-git": (NoWheel, ("ours", "UV_FIND_LINKS")),
    "local-path": (NoWheel, ("./wheels/ours-1.0-py3-none-any.whl", "UV_FIND_LINKS")),
    "editable": (NoWheel, ("-e .", "UV_FIND_LINKS")),
    "another-file": (Unresolvable, ("-r more.txt", "NAME==VERSION")),
}
"""The run of `odd_runs.py`, the error, and words that it must hold."""


@pytest.mark.parametrize("case", NOWHERE)
def test_what_is_not_there_is_named(world: World, case: str) -> None:
    """Each way to name a run or model leads to an error that repeats what was asked for."""
    asked, error, says = NOWHERE[case]
    refused(world, error, asked, "--repository", f"{world.registry}/nowhere", says=says)

    assert world.tags("nowhere") == ()


SLOW = {"killed", "running", "named-git", "another-file", "no-such-package"}


@pytest.mark.parametrize("case", cases(ODD, slow=SLOW))
def test_a_run_that_cannot_be_built_is_refused(world: World, odd_runs: dict[str, str], case: str) -> None:
    """Each has its own exit status and says what to do; nothing is in the registry."""
    error, says = ODD[case]
    # Only this one lies in a directory of this machine, which a server must not name unless it may.
    local = ("--local-artifacts",) if case == "linked" else ()
    repository = f"{world.registry}/odd-{case}"
    refused(world, error, odd_runs[case], "--repository", repository, *QUICKLY, *local, says=says)

    assert world.tags(f"odd-{case}") == ()


def test_an_experiment_without_a_promoted_run(world: World, odd_runs: dict[str, str]) -> None:
    """Neither an unknown experiment nor one that nobody promoted in gives an image."""
    refused(world, RunNotFound, "--experiment", "no\x1b[31mbody", "--repository", f"{world.registry}/none")
    refused(
        world, NotPromoted, "--experiment", "Default", "--repository", f"{world.registry}/none",
        says=("'Default'", "runbake promote"),
    )  # fmt: skip


def test_a_base_without_one_of_two_platforms(world: World, wine_run: str) -> None:
    """One platform of two is missing: nothing is built for the other."""
    refused(
        world, BasePlatformMissing, wine_run, "--repository", f"{world.registry}/half",
        "--platform", "linux/amd64,linux/arm64", says=("linux/arm64", "linux/amd64", "--base"),
    )  # fmt: skip
    assert world.tags("half") == ()
