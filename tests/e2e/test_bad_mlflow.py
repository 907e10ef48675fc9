"""An MLflow server that is down, slow, refusing or broken, or whose artifacts are not what it said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lab.registry_server import free_port
from runbake.errors import (
    ArtifactChanged,
    ArtifactMissing,
    TrackingAuthError,
    TrackingError,
    UnsafePath,
)
from tests.e2e.refusal import IMPATIENT, QUICKLY, cases, refused, went_well
from tests.e2e.world import World
from tests.integration.tracking.faulty_server import Answer, Fault, answering, standing_before

FIRST = "POST /api/2.0/mlflow/experiments/search"
THE_RUN = "GET /api/2.0/mlflow/runs/get"
LISTING = "GET /api/2.0/mlflow-artifacts/artifacts$"
ESTIMATOR = "GET .*/artifacts/model[.]"
MLMODEL = "GET .*/artifacts/MLmodel"
LOCK_WRITTEN = "PUT .*/runbake/locks/"
RECORD = "POST .*/runs/log-batch"


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Answer], Answer]:
    """The server's JSON answer, after this change."""

    def act(answer: Answer) -> Answer:
        document = json.loads(answer.body)
        change(document)
        return replace(answer, body=json.dumps(document).encode())

    return act


def sized(document: dict[str, Any]) -> None:
    """List the first file as one byte longer than it is."""
    files = [each for each in document.get("files", []) if not each.get("is_dir")]
    if files:
        files[0]["file_size"] = int(files[0]["file_size"]) + 1


def named(name: str) -> Callable[[Answer], Answer]:
    """List one file more, with this name."""
    return changed(
        lambda document: document.setdefault("files", []).append(
            {"path": name, "is_dir": False, "file_size": 1}
        )
    )


def cut_short(answer: Answer) -> Answer:
    """All but the last byte, as if that were all."""
    return replace(answer, body=answer.body[:-1])


def broken_off(answer: Answer) -> Answer:
    """Less than was promised."""
    return replace(answer, body=answer.body[: len(answer.body) // 2], promised_bytes=len(answer.body))


def edited(answer: Answer) -> Answer:
    """MLmodel with another flavor's name, of the same length."""
    return replace(answer, body=answer.body.replace(b"sklearn:", b"sklearm:"))


FORBIDDEN = Answer(status=403, body=b"<html>no</html>")


def never(answer: Answer) -> Answer:
    """Come seconds after the client's patience has ended."""
    threading.Event().wait(4)
    return answer


MIDWAY = {
    "first request 401": (Fault(at=FIRST, act=Answer(status=401)), TrackingAuthError, ("401", "_PASSWORD")),
    "first request 403": (Fault(at=FIRST, act=Answer(status=403)), TrackingAuthError, ("403", "_TOKEN")),
    "first request 500": (Fault(at=FIRST, act=Answer(status=500)), TrackingError, ("500", "MLFLOW_TRACKING")),
    "503 for good": (Fault(at=".", act=Answer(status=503)), TrackingError, ("503", "MLFLOW_TRACKING_URI")),
    "a web page": (Fault(at=".", act=Answer(body=b"<html>")), TrackingError, ("MLFLOW_TRACKING_URI",)),
    "never answers": (Fault(at=FIRST, act=never), TrackingError, ("timeout", "MLFLOW_HTTP_REQUEST_TIMEOUT")),
    "run 403": (Fault(at=THE_RUN, act=FORBIDDEN), TrackingAuthError, ("run ", "_USERNAME")),
    "run refused in JSON": (
        Fault(at=THE_RUN, act=Answer.json({"detail": "log in"}, status=401)),
        TrackingError,
        ("run ", "log in", "no answer of MLflow's own", "MLFLOW_TRACKING_TOKEN"),
    ),
    "run 500": (Fault(at=THE_RUN, act=Answer(status=500)), TrackingError, ("run ", "500")),
    "file 403": (Fault(at=ESTIMATOR, act=Answer(status=403)), TrackingAuthError, ("files of model", "403")),
    "file 500": (Fault(at=ESTIMATOR, act=Answer(status=500)), TrackingError, ("files of model", "500")),
    "file missing": (
        Fault(at=ESTIMATOR, act=Answer(status=404)),
        ArtifactMissing,
        ("files of model 'model'",),
    ),
    "file slow": (Fault(at=ESTIMATOR, act=never), TrackingError, ("timeout", "files of model")),
    "file broken off": (Fault(at=ESTIMATOR, act=broken_off), TrackingError, ("files of model",)),
    "file cut short": (Fault(at=ESTIMATOR, act=cut_short), ArtifactChanged, ("'model.", "bytes, now")),
    "listing changed": (Fault(at=LISTING, act=changed(sized), times=1), ArtifactChanged, ("bytes, now",)),
    "MLmodel changed": (Fault(at=MLMODEL, act=edited, after=1), ArtifactChanged, ("description changed",)),
    "name ../": (Fault(at=LISTING, act=named("../../evil")), UnsafePath, ("'../../evil'", "holds a slash")),
    "name absolute": (Fault(at=LISTING, act=named("/etc/evil")), UnsafePath, ("'/etc/evil'",)),
    "name dots": (Fault(at=LISTING, act=named("..")), UnsafePath, ("'..'",)),
    "name hostile": (Fault(at=LISTING, act=named("\x1b[2J\nerror: x/")), UnsafePath, ("[2J",)),
}
"""What goes wrong, the error, and words that it must hold."""


SLOW = {
    "first request 403",
    "first request 500",
    "a web page",
    "run 500",
    "file 403",
    "name absolute",
    "name dots",
}


@pytest.mark.parametrize("case", cases(MIDWAY, slow=SLOW))
def test_a_server_that_misbehaves_ends_the_build(world: World, wine_run: str, case: str) -> None:
    """Whenever it happens: an error that names server, run or file, and no tag."""
    fault, error, says = MIDWAY[case]
    name = f"mlflow-{case.replace(' ', '-').replace('../', 'up')}"
    with answering(standing_before(world.mlflow_uri, replace(fault))) as server:
        refused(
            world, error, wine_run, "--repository", f"{world.registry}/{name.lower()}", *QUICKLY,
            "--tracking-uri", server.uri, env=IMPATIENT, says=says,
        )  # fmt: skip

    assert world.tags(name.lower()) == ()


@pytest.mark.parametrize("status", [403, 500])
def test_a_lock_that_cannot_be_kept_is_a_warning(world: World, wine_run: str, status: int) -> None:
    """The run's artifacts cannot be written to: the image is made, and the user reads what that means."""
    fault = Fault(at=LOCK_WRITTEN, act=Answer(status=status))
    with answering(standing_before(world.mlflow_uri, fault)) as server:
        said = world.done(
            "containerize", wine_run, "--relock", "--repository", f"{world.registry}/unkept-{status}",
            *QUICKLY, "--tracking-uri", server.uri, env=IMPATIENT,
        )  # fmt: skip

    assert "warning: the lock is not kept on the run" in said.err
    assert str(status) in said.err


def test_a_run_that_cannot_be_told_of_its_image(world: World, wine_run: str) -> None:
    """The tag is set, the run's own tags are not: an error that says so, and the next run ends it."""
    repository, tag = f"{world.registry}/untold", f"run-{wine_run[:12]}"
    fault = Fault(at=RECORD, act=FORBIDDEN)
    with answering(standing_before(world.mlflow_uri, fault)) as server:
        said = refused(
            world, TrackingAuthError, wine_run, "--repository", repository, *QUICKLY,
            "--tracking-uri", server.uri, env=IMPATIENT, says=("403", wine_run),
        )  # fmt: skip
    assert f"done:  tags that point to it: {tag}" in said.err

    digest = went_well(world, repository, wine_run)
    assert f"{repository}@{digest}" in said.err
    assert world.client().resolve("untold", tag) == digest


def test_what_passes_is_waited_for(world: World, wine_run: str) -> None:
    """A restarting server, a broken transfer and slow answers delay a build, and change nothing in it."""
    faults = (
        Fault(at=FIRST, act=Answer(status=503), times=1),
        Fault(at=THE_RUN, act=Answer(status=503), times=1),
        Fault(at=LISTING, act=Answer(status=502), times=1),
        Fault(at=ESTIMATOR, act=broken_off, times=1),
        Fault(at=RECORD, act=Answer(status=503), times=1),
    )
    with answering(standing_before(world.mlflow_uri, *faults)) as server:
        went_well(
            world, f"{world.registry}/patience", wine_run, "--tracking-uri", server.uri,
            env={"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"},
        )  # fmt: skip

    assert [fault.times for fault in faults] == [0] * len(faults), "every fault was met"


def test_nobody_listens(world: World, wine_run: str) -> None:
    """The address without its password, and the variable to look at, within seconds."""
    started = time.monotonic()
    port = free_port()
    said = refused(
        world, TrackingError, wine_run, "--repository", f"{world.registry}/deaf",
        "--tracking-uri", f"http://bob:hunter2@127.0.0.1:{port}",
        says=(f"cannot reach MLflow at http://[redacted by runbake]@127.0.0.1:{port}", "MLFLOW_TRACKING_URI"),
    )  # fmt: skip

    assert "hunter2" not in said.err + (world.directory / "image.json").read_text()
    assert time.monotonic() - started < 60
