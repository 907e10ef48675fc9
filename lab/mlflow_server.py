"""A real MLflow tracking server on the loopback address: sqlite behind it, artifacts proxied, one worker."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import requests

from lab.state import LAB_DIRECTORY

_LOG_TAIL_BYTES = 4000
_STOP_DEADLINE_S = 10.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """The administrator that a server with MLflow's `basic-auth` app starts with."""

    username: str
    password: str = field(repr=False)


@contextmanager
def running_mlflow(
    directory: Path,
    *,
    deadline_s: float,
    port: int = 0,
    python: Path | None = None,
    backend: str = "sqlite",
    basic_auth: BasicAuth | None = None,
) -> Iterator[str]:
    """Yield `http://127.0.0.1:PORT` of an MLflow server that answers, and stop it afterwards.

    The database, artifacts (`directory/artifacts`) and log (`directory/server.log`) are in `directory`, so a
    second server on the same directory sees what the first one stored.

    Args:
        directory: where everything is kept; made if missing.
        deadline_s: seconds until the server must answer.
        port: 0 picks a free one.
        python: the interpreter whose `mlflow` serves; None is this one. Other versions see `lab.mlflow2`.
        backend: "sqlite", or "file" for MLflow 2's file store.
        basic_auth: run MLflow's own login with this administrator.

    Raises:
        RuntimeError: the server ended or did not answer by the deadline; the message ends with its log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    chosen_port = port or _free_port()
    uri = f"http://127.0.0.1:{chosen_port}"
    log = directory / "server.log"
    database = directory / "mlflow.db"
    template = _template(python) if backend == "sqlite" and not database.exists() else None
    if template is not None and template.exists():
        shutil.copyfile(template, database)
    command = _command(directory, chosen_port, python or Path(sys.executable), backend, basic_auth)
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=_environment(directory, python, basic_auth),
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # uvicorn and gunicorn fork; the group is stopped as one
        )
    try:
        _wait_until_healthy(uri, process, log, deadline_s)
        if template is not None and not template.exists():
            _keep_template(database, template)
        yield uri
    finally:
        _stop(process)


def _template(python: Path | None) -> Path | None:
    """Where an empty database of this environment's MLflow is kept: its migrations take many seconds."""
    return None if python is not None else LAB_DIRECTORY / f"mlflow-{version('mlflow')}.db"


def _keep_template(database: Path, template: Path) -> None:
    template.parent.mkdir(parents=True, exist_ok=True)
    partial = template.with_name(f"{template.name}.{os.getpid()}")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    partial.replace(template)


def _command(directory: Path, port: int, python: Path, backend: str, auth: BasicAuth | None) -> list[str]:
    store = f"sqlite:///{directory / 'mlflow.db'}" if backend == "sqlite" else (directory / "runs").as_uri()
    command = [
        *(str(python), "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store),
        *("--artifacts-destination", str(directory / "artifacts")),
    ]
    return command + (["--app-name", "basic-auth"] if auth else [])


def _environment(directory: Path, python: Path | None, auth: BasicAuth | None) -> Mapping[str, str]:
    # The server must not obey the tests' client settings (a tracking URI would make it a proxy of itself).
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # MLflow 3's job runner starts extra processes that nothing here uses.
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    if python is not None:
        # MLflow 2 starts `gunicorn` by name.
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    if auth is not None:
        environment["MLFLOW_AUTH_CONFIG_PATH"] = str(_auth_config(directory, auth))
        environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.token_hex(16)
    return environment


def _auth_config(directory: Path, auth: BasicAuth) -> Path:
    path = directory / "basic_auth.ini"
    path.write_text(
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{directory / 'auth.db'}\n"
        f"admin_username = {auth.username}\n"
        f"admin_password = {auth.password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    path.chmod(0o600)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(uri: str, process: subprocess.Popen[bytes], log: Path, deadline_s: float) -> None:
    give_up_at = time.monotonic() + deadline_s
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise RuntimeError(f"mlflow server ended with status {process.returncode}:\n{_tail(log)}")
        with suppress(requests.RequestException):
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        time.sleep(_POLL_S)
    raise RuntimeError(f"mlflow server did not answer at {uri} within {deadline_s:g} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group; kill what ignores SIGTERM."""
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_DEADLINE_S)
            break
    # The leader is gone; a forked worker that outlived it is not.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
