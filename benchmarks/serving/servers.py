"""The measured servers, one worker each, all pinned to one core."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.cores import SERVER_CORE
from benchmarks.serving.environments import Environment
from lab.ports import port_for
from lab.process import identity_of, tail_of

_DEADLINE_S = 120.0
_END_S = 15.0
_PACKAGE = Path(__file__).parent


class NotThere(Exception):
    """A server that did not come up, or does not answer rightly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How one server is started for a saved model, and where it takes requests.

    `command` is made of the interpreter, the model's directory and a port; `files` are what it needs in its
    working directory.
    """

    name: str
    command: Callable[[Path, Path, int], Sequence[str | Path]]
    ping: str = "/ping"
    environ: Callable[[Path, int], Mapping[str, str]] = lambda _model, _port: {}
    files: Callable[[Path, int], Mapping[str, str]] = lambda _model, _port: {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers on 127.0.0.1."""

    server: Server
    pid: int
    port: int
    log: Path
    seconds_to_first_200: float
    core: int | None = field(default=None)


def runbake(runtime: Path) -> Server:
    """Ours, from the directory that holds the package `runbake_serving`."""

    def environ(model: Path, port: int) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(runtime),
            "RUNBAKE_MODEL": str(model),
            "RUNBAKE_PROVENANCE": str(model / "no-provenance.json"),
            "RUNBAKE_HOST": "127.0.0.1",
            "RUNBAKE_PORT": str(port),
            "RUNBAKE_WORKERS": "1",
        }

    return Server(
        name="runbake",
        command=lambda python, _model, _port: [python, "-m", "runbake_serving", "serve"],
        environ=environ,
    )


def limit(answer: Path) -> Server:
    """A constant: the bytes of `answer`."""
    uvicorn = "-m uvicorn constant:app --host 127.0.0.1 --http httptools --loop uvloop --no-access-log"
    return Server(
        name="limit",
        command=lambda python, _model, port: [
            *(str(python), *uvicorn.split(), "--log-level", "warning", "--port", str(port)),
            *("--app-dir", str(_PACKAGE / "services")),
        ],
        environ=lambda _model, _port: {"BENCHMARK_ANSWER": str(answer)},
    )


MLFLOW = Server(
    name="mlflow",
    command=lambda python, model, port: [
        *(python, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port), "--model-uri", model),
    ],
)

MLSERVER = Server(
    name="mlserver",
    command=lambda python, _model, _port: [python.parent / "mlserver", "start", "."],
    ping="/v2/health/ready",
    files=lambda model, port: {
        "settings.json": f'{{"host": "127.0.0.1", "http_port": {port}, "grpc_port": {port + 1}, '
        f'"metrics_port": {port + 2}, "parallel_workers": 0, "debug": false}}',
        "model-settings.json": '{"name": "model", "implementation": "mlserver_mlflow.MLflowRuntime", '
        f'"parameters": {{"uri": "{model}"}}}}',
    },
)

BENTOML = Server(
    name="bentoml",
    command=lambda python, _model, port: [
        *(python, "-m", "bentoml", "serve", "bento:Classifier", "--working-dir", _PACKAGE / "services"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ],
    ping="/livez",
    environ=lambda model, _port: {"BENCHMARK_MODEL": str(model), "BENTOML_DO_NOT_TRACK": "True"},
)

LITSERVE = Server(
    name="litserve",
    command=lambda python, _model, port: [python, _PACKAGE / "services" / "lit.py", str(port)],
    ping="/health",
    environ=lambda model, _port: {"BENCHMARK_MODEL": str(model)},
)


@contextmanager
def running(server: Server, environment: Environment, model: Path, work: Path) -> Iterator[Running]:
    """Start `server` for `model` on a free port; stop it at the end.

    Raises:
        NotThere: it ended, or did not answer in time; the message ends with its log.
    """
    own = work / server.name / model.name
    own.mkdir(parents=True, exist_ok=True)
    with port_for(20_000 + 10 * len(list(work.iterdir()))) as port:
        for name, text in server.files(model, port).items():
            (own / name).write_text(text)
        log = own / "log"
        started = time.monotonic()
        process = _start(server, environment, model, own, port, log)
        try:
            wait_for_200(port, server.ping, alive=lambda: identity_of(process.pid) is not None, log=log)
        except NotThere:
            _stop(process)
            raise
    seconds = time.monotonic() - started
    try:
        yield Running(server=server, pid=process.pid, port=port, log=log, seconds_to_first_200=seconds)
    finally:
        _stop(process)


def _start(
    server: Server, environment: Environment, model: Path, own: Path, port: int, log: Path
) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNBAKE_", "MLFLOW_"))}
    binaries = f"{environment.python.parent}:{kept.get('PATH', os.defpath)}"
    # One core for everything: threads of BLAS would only fight for it.
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = ["taskset", "-c", str(SERVER_CORE), *map(str, server.command(environment.python, model, port))]
    with log.open("wb") as out:
        return subprocess.Popen(
            command,
            cwd=own,
            env={**kept, **threads, "PATH": binaries, **server.environ(model, port)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The whole session: some of the servers leave their workers behind.
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait(_END_S)


def wait_for_200(
    port: int, path: str, *, alive: Callable[[], bool], log: Path, deadline_s: float = _DEADLINE_S
) -> None:
    """Return when a GET is answered 200.

    Raises:
        NotThere: the server is not alive, or the deadline passed.
    """
    give_up_at = time.monotonic() + deadline_s
    while not answers_200(port, path):
        if not alive() or time.monotonic() > give_up_at:
            raise NotThere(f"nothing answers {path} on port {port}:\n{tail_of(log)}")
        time.sleep(0.02)


def answers_200(port: int, path: str) -> bool:
    """Whether a GET is answered 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ask(port: int, path: str, content_type: str, content: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to one POST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body=content, headers={"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
