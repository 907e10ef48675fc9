"""An image that runbake made, in a real engine."""

from __future__ import annotations

import ctypes
import http.client
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from benchmarks.commands import timed
from benchmarks.containerize.ours import containerize
from benchmarks.processes import cpu_seconds
from benchmarks.serving.bench import Bench
from benchmarks.serving.models import Saved
from benchmarks.serving.servers import NotThere

_CLONE_NEWNET = 0x40000000
_DEADLINE_S = 60.0
_PORT = 8080


def image(bench: Bench, name: str, saved: Saved, *options: str) -> str:
    """The reference by digest of an image with this model, in the engine; logged, built and pushed before.

    `options` are containerize's.
    """
    parts = bench.parts
    run_id = _logged(parts.mlflow, saved.path)
    built = containerize(parts, run_id, f"serving-{name}", *options, cache=parts.work / "cache")
    reference = str(built.report["reference"])
    timed(["docker", "pull", "-q", reference])
    bench.ends.callback(timed, ["docker", "image", "rm", "-f", reference])
    return reference


def _logged(mlflow: str, model: Path) -> str:
    """The id of a finished run with this saved model, whatever its flavor."""
    client = MlflowClient(mlflow)
    known = client.get_experiment_by_name("benchmark")
    experiment = known.experiment_id if known else client.create_experiment("benchmark")
    run_id = str(client.create_run(experiment).info.run_id)
    logged = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.log_model_artifacts(logged.model_id, str(model))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.set_terminated(run_id)
    return run_id


@contextmanager
def container(image: str, *options: str) -> Iterator[tuple[int, str]]:
    """Run an image read-only, as its own user; its first process and its id. It is removed at the end."""
    done = timed(["docker", "run", "-d", "--read-only", *options, image])
    name = done.stdout.strip().split("\n")[-1]
    try:
        pid = timed(["docker", "inspect", "-f", "{{.State.Pid}}", name]).stdout.strip()
        yield int(pid), name
    finally:
        timed(["docker", "rm", "-f", name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """From `docker run` to the first GET /ping that is answered 200; and what the container took of a core.

    Other work on the machine moves the second least.
    """

    seconds: float
    cpu_seconds: float


def start_of(image: str) -> Start:
    """Run an image without network until it answers.

    Raises:
        NotThere: nothing answered in time; the message has the container's log.
    """
    started = time.monotonic()
    with container(image, "--network", "none") as (pid, name):
        answered = _in_network_of(pid, give_up_at=started + _DEADLINE_S)
        if answered is None:
            raise NotThere(f"nothing answers: {timed(['docker', 'logs', name]).stderr[-3000:]}")
        return Start(seconds=answered - started, cpu_seconds=cpu_seconds(pid))


def _in_network_of(pid: int, *, give_up_at: float) -> float | None:
    """When /ping was answered 200. A thread of its own enters the container's network, and ends in it."""
    found: list[float] = []

    def ask() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot enter the container's network (root can)")
        while time.monotonic() < give_up_at and not found:
            if _answers():
                found.append(time.monotonic())
            else:
                time.sleep(0.005)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0] if found else None


def _answers() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def user_of(pid: int) -> int:
    """The user that a process runs as."""
    return os.stat(f"/proc/{pid}").st_uid
