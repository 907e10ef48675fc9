"""The whole way once, for a newcomer: train, promote, containerize, serve, predict, trace."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from lab.base import ensure_base
from lab.engine import ensure_engine, find_engine
from lab.errors import LabError
from lab.ports import port_near
from lab.services import ensure_mlflow, ensure_registry, release
from lab.state import State, container_name
from lab.story import Story

USER = "demo"
CONTAINER = container_name("runbake-demo")
_TARGET = "cultivar"
_ROWS = 6
_SERVING_PORT = 8080
_READY_DEADLINE_S = 60.0
_COMMAND_DEADLINE_S = 600
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The real parts that the demo stands on."""

    client: docker.DockerClient
    registry: str
    mlflow_uri: str
    base: str


def run_demo(state: State, story: Story) -> None:
    """Show how a training run becomes a served, traceable image; running it again replaces the container.

    Raises:
        LabError: a part could not be had, or a step failed.
    """
    story.say("The parts\n")
    with state.locked():
        parts = _ensure_parts(state, story)
    story.say("\nFrom a training run to a served model")
    holdout = state.directory / "holdout.csv"
    run_id = _last_line(
        _shown(
            ["python", "examples/train_wine.py", "--holdout", str(holdout.relative_to(_ROOT))], parts, story
        )
    )
    _shown(["runbake", "promote", run_id], parts, story)
    image = _last_line(
        _shown(
            [
                *("runbake", "containerize", run_id),
                *("--repository", f"{parts.registry}/wine", "--base", parts.base),
            ],
            parts,
            story,
        )
    )
    container, url = _started(parts.client, image, story)
    # The way back to the run needs no server: it is followed while the server starts, and shown in its turn.
    tracing = ["runbake", "trace", image]
    with _begun(tracing, parts) as trace:
        with story.step("container", f"{url}/ping answers"):
            _wait_until_ready(f"{url}/ping", lambda: container.logs(tail=40).decode(errors="replace"))
        _predict(url, holdout, story)
        story.command(tracing)
        _told(trace, tracing)
    _say_what_runs(parts, url, image, story)


def stop_demo(state: State, story: Story) -> None:
    """Remove the container and stop what the demo started; what it recorded and built is kept."""
    client = find_engine()
    if client is not None:
        with suppress(NotFound):
            container = client.containers.get(CONTAINER)
            with story.step("container", f"remove {CONTAINER}"):
                container.remove(force=True)
    with state.locked():
        release(state, user=USER, story=story)


def _ensure_parts(state: State, story: Story) -> Parts:
    client = ensure_engine(state, user=USER, story=story)
    registry = ensure_registry(state, client, user=USER, story=story)
    mlflow_uri = ensure_mlflow(state, user=USER, story=story)
    base = ensure_base(f"{registry}/runbake-base", story=story)
    return Parts(client=client, registry=registry, mlflow_uri=mlflow_uri, base=base)


def _shown(command: list[str], parts: Parts, story: Story) -> str:
    """Show a command, run it with this environment's program, echo what it prints; its stdout."""
    story.command(command)
    started = time.monotonic()
    with _begun(command, parts) as process:
        out = _told(process, command)
    story.note("", f"({time.monotonic() - started:.1f} s)")
    return out


@contextmanager
def _begun(command: list[str], parts: Parts) -> Iterator[subprocess.Popen[str]]:
    """A running command, that does not outlive the block."""
    with subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=_ROOT,
        env=_environment(parts),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _told(process: subprocess.Popen[str], command: list[str]) -> str:
    """Wait for the end of a command and echo what it printed; its stdout."""
    out, _ = process.communicate(timeout=_COMMAND_DEADLINE_S)
    sys.stderr.write(out)
    if process.returncode != 0:
        raise LabError(f"{command[0]} {command[1]} ended with exit status {process.returncode}")
    return out


def _environment(parts: Parts) -> dict[str, str]:
    return {
        **os.environ,
        "MLFLOW_TRACKING_URI": parts.mlflow_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its warnings about this repository's size and pip are no part of the demo.
        "MLFLOW_LOGGING_LEVEL": "ERROR",
    }


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    if not lines:
        raise LabError("the command printed nothing, but its last line was wanted")
    return lines[-1].strip()


def _started(client: docker.DockerClient, image: str, story: Story) -> tuple[Container, str]:
    """Start the image as one would in production, read-only and not root; the container and its address."""
    earlier = _removed(client)
    port = port_near(_SERVING_PORT)
    story.command(
        [
            *("docker", "run", "--detach", "--name", CONTAINER, "--read-only", "--tmpfs", "/tmp"),  # noqa: S108
            *("--publish", f"127.0.0.1:{port}:8080", image),
        ]
    )
    container = client.containers.run(
        image,
        name=CONTAINER,
        detach=True,
        read_only=True,
        tmpfs={"/tmp": ""},  # noqa: S108 - the container's
        ports={"8080/tcp": ("127.0.0.1", port)},
    )
    if earlier and earlier != container.attrs["Image"]:
        # After the new one, which shares most of its layers; it may have another use by now.
        with suppress(APIError):
            client.images.remove(earlier)
    return container, f"http://127.0.0.1:{port}"


def _removed(client: docker.DockerClient) -> str:
    """Remove the container of an earlier demo; the image that it ran, "" where there was none."""
    try:
        container = client.containers.get(CONTAINER)
    except NotFound:
        return ""
    image = str(container.attrs["Image"])
    container.remove(force=True)
    return image


def _wait_until_ready(url: str, log: Callable[[], str]) -> None:
    give_up_at = time.monotonic() + _READY_DEADLINE_S
    while time.monotonic() < give_up_at:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=2).status_code == requests.codes.ok:
                return
        time.sleep(0.1)
    raise LabError(f"{url} does not answer after {_READY_DEADLINE_S:g} s:\n{log()}")


def _predict(url: str, holdout: Path, story: Story) -> None:
    """Send wines that the model has not seen; print the answers beside the truth."""
    with holdout.open(newline="") as file:
        rows = list(csv.DictReader(file))[:_ROWS]
    columns = [name for name in rows[0] if name != _TARGET]
    data = [[float(row[name]) for name in columns] for row in rows]
    body = json.dumps({"dataframe_split": {"columns": columns, "data": data}})
    request = holdout.with_name("request.json")
    request.write_text(body)
    header = "Content-Type: application/json"
    story.command(["curl", f"{url}/invocations", "-H", header, "-d", f"@{request.relative_to(_ROOT)}"])
    answer = requests.post(
        f"{url}/invocations", data=body, headers={"Content-Type": "application/json"}, timeout=10
    )
    if not answer.ok:
        raise LabError(f"{url}/invocations answered {answer.status_code}: {answer.text[:500]}")
    story.say(f"  {'alcohol':>8} {'proline':>8}   predicted   true cultivar")
    for row, predicted in zip(rows, answer.json()["predictions"], strict=True):
        story.say(f"  {row['alcohol']:>8} {row['proline']:>8}   {predicted!s:>9}   {row[_TARGET]:>13}")


def _say_what_runs(parts: Parts, url: str, image: str, story: Story) -> None:
    story.say(
        f"\nDone in {story.elapsed_s():.0f} s. Running now:\n\n"
        f"  model     {url}          (/docs, /provenance, /invocations)\n"
        f"  image     {image}\n"
        f"  MLflow    {parts.mlflow_uri}\n"
        f"  registry  http://{parts.registry}/v2/_catalog\n\n"
        "Go on with it:\n\n"
        f"  export MLFLOW_TRACKING_URI={parts.mlflow_uri} PATH={Path(sys.executable).parent}:$PATH\n"
        f"  runbake --help; runbake trace {url}\n\n"
        "Stop it all with: make demo-down"
    )
