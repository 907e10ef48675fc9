"""The real process: workers, signals, logs, and no MLflow in it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import yaml
from sklearn.base import BaseEstimator

from lab.ports import port_for
from tests.integration.serving.models_to_serve import named_columns, save

TEMPLATE = Path(__file__).parents[3] / "serving_template"
DEADLINE_S = 60.0
BODY = json.dumps({"dataframe_split": {"data": [[1.0], [2.0]]}})
NO_MLFLOW = """
import sys

class NoMlflow:
    def find_spec(self, name, path=None, target=None):
        if name == "mlflow" or name.startswith("mlflow."):
            raise ImportError("mlflow is not in the image")
        return None

sys.meta_path.insert(0, NoMlflow())
"""


class Sleeper(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Says on stdout and by a file that it predicts, takes its time, and answers the number of rows."""

    def __init__(self, started: str, seconds: float) -> None:
        self.started = started
        self.seconds = seconds

    def predict(self, data: Any) -> list[int]:
        """One number for each row."""
        import pathlib
        import time

        print("predicting")
        pathlib.Path(self.started).touch()
        time.sleep(self.seconds)
        return [len(data)] * len(data)


def load_slowly(started: str) -> None:
    """Says by a file that it loads, and takes an hour."""
    import pathlib
    import time

    pathlib.Path(started).touch()
    time.sleep(3600)


class SlowToLoad:
    """Takes an hour to load."""

    def __init__(self, started: str) -> None:
        self.started = started

    def __reduce__(self) -> tuple[Any, ...]:
        """What the pickle does when it is loaded."""
        return load_slowly, (self.started,)


class Exiting(BaseEstimator):  # type: ignore[misc]
    """Takes its whole process with it."""

    def predict(self, data: Any) -> None:
        """Never returns."""
        import os

        os._exit(9)


class Failing(BaseEstimator):  # type: ignore[misc]
    """Raises something that no flavor expects, with the data in its message."""

    def predict(self, data: Any) -> None:
        """Never returns."""
        raise RuntimeError(f"secret {data}")


def write_model(root: Path, estimator: object, *, example: str = "") -> None:
    """A model directory as MLflow lays it out, with an estimator pickled by value."""
    root.mkdir()
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        (root / "model.pkl").write_bytes(cloudpickle.dumps(estimator))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    flavors = {
        "python_function": {"predict_fn": "predict", "model_path": "model.pkl"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"},
    }
    (root / "example.json").write_text(example)
    document = {
        "flavors": flavors,
        "mlflow_version": "3.17.2",
        "saved_input_example_info": {"serving_input_path": "example.json"} if example else None,
    }
    (root / "MLmodel").write_text(yaml.safe_dump(document))


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server in its own process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connect(self) -> http.client.HTTPConnection:
        """A new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of one answer."""
        connection = self.connect()
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def stopped(self) -> int:
        """The exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def events(self) -> list[dict[str, Any]]:
        """The log: one JSON object a line, all of them."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def environment(tmp_path: Path, model: Path, **settings: str) -> dict[str, str]:
    """What an image's process sees, and an interpreter that cannot import MLflow."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(NO_MLFLOW)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{site}:{TEMPLATE}",
        "RUNBAKE_MODEL": str(model),
        "RUNBAKE_PROVENANCE": str(tmp_path / "provenance.json"),
        "RUNBAKE_HOST": "127.0.0.1",
        **settings,
    }


@contextmanager
def running(tmp_path: Path, model: Path, **settings: str) -> Iterator[Running]:
    """A server that answers /ping; it is killed in the end if it still runs."""
    log = tmp_path / "log"
    with port_for(0) as port, log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "runbake_serving", "serve"],
            env=environment(tmp_path, model, RUNBAKE_PORT=str(port), **settings),
            stderr=stderr,
            stdout=stderr,
        )
        one = Running(process=process, port=port, log=log)
        try:
            wait_until_answering(one)
        except AssertionError:
            process.kill()
            process.wait()
            raise
    try:
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until_answering(one: Running) -> None:
    """Return when /ping is 200; the log is shown at the deadline."""
    give_up_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up_at and one.process.poll() is None:
        try:
            if one.ask("GET", "/ping")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(one.log.read_text())


def wait_for(path: Path) -> None:
    """Return when the file is there."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < give_up_at, f"{path} never came"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def iris_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier saved by MLflow."""
    path = tmp_path_factory.mktemp("iris") / "model"
    save(named_columns(), path)
    return path


def test_serves_without_mlflow(tmp_path: Path, iris_model: Path) -> None:
    """Two workers answer with the label file's headers, MLflow cannot be imported, SIGTERM ends with 0."""
    label_file = json.dumps({"run": {"id": "a" * 32}, "model": {"registeredVersion": "7\r\nX-Evil: é1"}})
    (tmp_path / "provenance.json").write_text(label_file)
    digest = f"sha256:{hashlib.sha256(label_file.encode()).hexdigest()}"
    row = dict.fromkeys(named_columns().rows.columns, 1.0)
    with running(tmp_path, iris_model, RUNBAKE_WORKERS="2") as server:
        status, body, headers = server.ask("POST", "/invocations", json.dumps({"dataframe_records": [row]}))
        assert (status, len(json.loads(body)["predictions"])) == (200, 1)
        assert headers["x-runbake-run-id"] == "a" * 32
        assert headers["x-runbake-model-version"] == "7X-Evil: 1"
        assert headers["x-runbake-provenance-digest"] == digest
        assert server.ask("GET", "/provenance")[1] == label_file.encode()
        assert server.ask("GET", "/version")[1] == b"3.17.2"
        refused = server.ask("POST", "/invocations", "{")
        assert (refused[0], refused[2]["x-runbake-run-id"]) == (400, "a" * 32)
        assert server.stopped() == 0
    assert {event["event"] for event in server.events()} == {"model loaded", "serving", "request"}
    assert [event["workers"] for event in server.events() if event["event"] == "serving"] == [2]


def test_page_off_hides_provenance(tmp_path: Path, iris_model: Path) -> None:
    """RUNBAKE_PAGE=off removes /provenance and keeps the headers."""
    (tmp_path / "provenance.json").write_text('{"run": {"id": "b"}}')
    with running(tmp_path, iris_model, RUNBAKE_PAGE="off", RUNBAKE_WORKERS="1") as server:
        status, _, headers = server.ask("GET", "/provenance")
        assert (status, headers["x-runbake-run-id"]) == (404, "b")
        assert server.stopped() == 0


def test_sigterm_lets_a_request_finish(tmp_path: Path) -> None:
    """A request in flight at SIGTERM is answered, then the process ends with 0, and no error is logged."""
    started = tmp_path / "started"
    write_model(tmp_path / "model", Sleeper(str(started), 1.0))
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="2", PYTHONUNBUFFERED="1") as server:
        connection = server.connect()
        connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
        wait_for(started)
        server.process.send_signal(signal.SIGTERM)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"predictions": [2, 2]})
        connection.close()
        assert server.process.wait(DEADLINE_S) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
    assert "Traceback" not in server.log.read_text()
    assert "error" not in server.log.read_text()


def test_sigterm_while_loading(tmp_path: Path) -> None:
    """SIGTERM before the model is loaded ends the process at once, with 0 and without a traceback."""
    started = tmp_path / "started"
    write_model(tmp_path / "model", SlowToLoad(str(started)))
    process = subprocess.Popen(
        [sys.executable, "-m", "runbake_serving"],
        env=environment(tmp_path, tmp_path / "model", RUNBAKE_UDS=str(tmp_path / "s")),
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(started)
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=DEADLINE_S)[1]
        assert (process.returncode, log, (tmp_path / "s").exists()) == (0, b"", False)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_sigterm_while_warming_up(tmp_path: Path) -> None:
    """SIGTERM while a worker asks the model its example ends the process with 0; nobody is killed."""
    started = tmp_path / "started"
    write_model(tmp_path / "model", Sleeper(str(started), 1.0), example=BODY)
    process = subprocess.Popen(
        [sys.executable, "-m", "runbake_serving"],
        env=environment(tmp_path, tmp_path / "model", RUNBAKE_UDS=str(tmp_path / "s"), RUNBAKE_WORKERS="2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(started)
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=DEADLINE_S)[1]
        assert (process.returncode, b"error" in log) == (0, False), log
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_grace_time_ends(tmp_path: Path) -> None:
    """A prediction that outlasts the grace time does not hold the process, and the status tells so."""
    started = tmp_path / "started"
    write_model(tmp_path / "model", Sleeper(str(started), 3600.0))
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1", RUNBAKE_GRACE_S="1") as server:
        connection = server.connect()
        connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
        wait_for(started)
        assert server.stopped() == 71
        connection.close()
    assert any("grace time is over" in event["event"] for event in server.events())


def test_dead_worker_is_replaced_and_a_crash_loop_ends(tmp_path: Path) -> None:
    """A worker that dies is replaced; workers that keep dying end the process with a status that is not 0."""
    write_model(tmp_path / "model", Exiting())
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1") as server:
        give_up_at = time.monotonic() + DEADLINE_S
        while server.process.poll() is None and time.monotonic() < give_up_at:
            try:
                server.ask("POST", "/invocations", BODY)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # its worker died, or the next one is not there yet
        assert server.process.wait(1) == 70
    events = [event["event"] for event in server.events()]
    assert events.count("worker died") == 5
    assert events[-1] == "workers keep dying: giving up"


def test_a_worker_that_is_killed_by_hand_closes_the_door_to_nobody(tmp_path: Path, iris_model: Path) -> None:
    """SIGTERM to a worker changes nothing; after SIGKILL its successor answers, on the same socket."""

    def worker(server: Running) -> int:
        """Who answered last: lines are written before the next request of the same worker is read."""
        assert server.ask("GET", "/version")[0] == 200
        give_up_at = time.monotonic() + DEADLINE_S
        while time.monotonic() < give_up_at:
            with suppress(json.JSONDecodeError):  # a line that is being written
                if told := [event for event in server.events() if event.get("path") == "/version"]:
                    return int(told[-1]["pid"])
        raise AssertionError("no line in the log")

    with running(tmp_path, iris_model, RUNBAKE_WORKERS="1") as server:
        first = worker(server)
        os.kill(first, signal.SIGTERM)
        kept = server.connect()
        for _ in range(100):
            kept.request("GET", "/ping")
            answer = kept.getresponse()
            assert (answer.read(), answer.getheader("Connection")) == (b"\n", None)
        kept.close()
        assert worker(server) == first
        os.kill(first, signal.SIGKILL)
        assert server.ask("GET", "/ping")[0] == 200
        assert server.stopped() == 0
    assert [event["worker"] for event in server.events() if event["event"] == "worker died"] == [first]


def test_head_is_get_without_a_body(tmp_path: Path, iris_model: Path) -> None:
    """Load balancers ask so; what follows on the same connection is read as the next answer."""
    with running(tmp_path, iris_model) as server, closing(server.connect()) as kept:
        for path in ("/ping", "/version", "/v2/health/ready"):
            seen = []
            for method in ("GET", "HEAD", "GET"):
                kept.request(method, path)
                answer = kept.getresponse()
                seen.append((answer.status, answer.getheader("Content-Length"), answer.read()))
            assert seen[0] == seen[2]
            assert seen[1] == (*seen[0][:2], b"")


def test_sigterm_while_a_restart_waits(tmp_path: Path) -> None:
    """A worker that dies again is replaced after a pause; SIGTERM in it ends the process with 0."""
    write_model(tmp_path / "model", Exiting())
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1") as server:
        give_up_at = time.monotonic() + DEADLINE_S
        for deaths in range(1, 5):
            with suppress(OSError, http.client.HTTPException):
                server.ask("POST", "/invocations", BODY)
            while server.log.read_text().count("worker died") < deaths:
                assert time.monotonic() < give_up_at, server.log.read_text()
                time.sleep(0.01)
        assert server.stopped() == 0


def test_workers_end_with_their_parent(tmp_path: Path, iris_model: Path) -> None:
    """When the supervisor is killed without a word, its workers end and the port is free again."""
    with running(tmp_path, iris_model, RUNBAKE_WORKERS="2") as server:
        server.process.kill()
        server.process.wait()
        give_up_at = time.monotonic() + DEADLINE_S
        while time.monotonic() < give_up_at:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
            except ConnectionRefusedError:
                return
            time.sleep(0.02)
        raise AssertionError("workers outlive their parent")


def test_model_failure_is_500_without_its_message(tmp_path: Path) -> None:
    """What the model raises is answered 500 with a request id; the log has the place, nobody has the data."""
    write_model(tmp_path / "model", Failing())
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1") as server:
        status, body, _ = server.ask("POST", "/invocations", BODY)
        answer = json.loads(body)
        assert (status, answer["error_code"]) == (500, "INTERNAL_ERROR")
        assert server.stopped() == 0
    failed = next(event for event in server.events() if event["event"] == "model failed")
    assert (failed["request"], failed["exception"]) == (answer["request_id"], "RuntimeError")
    assert "predict" in failed["at"][-1]
    assert "secret" not in body.decode() + server.log.read_text()


def test_unix_socket(tmp_path: Path, iris_model: Path) -> None:
    """RUNBAKE_UDS serves on a Unix socket, over one left behind, and removes it in the end."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    process = subprocess.Popen(
        [sys.executable, "-m", "runbake_serving"],
        env=environment(tmp_path, iris_model, RUNBAKE_UDS=str(path), RUNBAKE_WORKERS="1"),
        stderr=subprocess.PIPE,
    )
    try:
        assert ping_over(path, process) == b"HTTP/1.1 200 OK"
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=DEADLINE_S)[1]
        assert (process.returncode, path.exists()) == (0, False), log
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_unix_socket_is_not_taken_over(tmp_path: Path, iris_model: Path) -> None:
    """A server whose socket's path is another server's says so, and leaves the path as it is."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as loading:
        loading.bind(str(path))
        for listens in (False, True):
            if listens:
                loading.listen()
            done = command(tmp_path, iris_model, "serve", RUNBAKE_UDS=str(path))
            assert (done.returncode, b"another server" in done.stderr) == (1, True), done.stderr
            assert path.is_socket()


def test_a_unix_socket_of_a_successor_stays(tmp_path: Path, iris_model: Path) -> None:
    """A server that ends removes the path of its own socket, and not the one that took its place."""
    path = tmp_path / "s"
    process = subprocess.Popen(
        [sys.executable, "-m", "runbake_serving"],
        env=environment(tmp_path, iris_model, RUNBAKE_UDS=str(path), RUNBAKE_WORKERS="1"),
        stderr=subprocess.PIPE,
    )
    try:
        ping_over(path, process)
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(tmp_path / "t"))
            (tmp_path / "t").rename(path)
            process.send_signal(signal.SIGTERM)
            log = process.communicate(timeout=DEADLINE_S)[1]
            assert (process.returncode, path.is_socket()) == (0, True), log
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ping_over(path: Path, process: subprocess.Popen[bytes]) -> bytes:
    """The status line of /ping, when it answers."""
    give_up_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up_at and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
            except OSError:
                time.sleep(0.05)
                continue
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return client.recv(4096).split(b"\r\n", 1)[0]
    raise AssertionError("nobody answers on the socket")


def command(
    tmp_path: Path, model: Path, *words: str, body: bytes = b"", **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """One command of the image, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "runbake_serving", *words],
        env=environment(tmp_path, model, **{"RUNBAKE_PORT": "0", **settings}),
        input=body,
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )


def test_predict_prints_the_answer_alone(tmp_path: Path) -> None:
    """`predict` answers one body; what the model prints does not reach standard output."""
    write_model(tmp_path / "model", Sleeper(str(tmp_path / "started"), 0.0))
    (tmp_path / "body").write_text("a,b\n1,2\n")
    done = command(tmp_path, tmp_path / "model", "predict", body=BODY.encode())
    assert (done.returncode, done.stdout) == (0, b'{"predictions":[2,2]}\n')
    assert b"predicting" in done.stderr
    words = ("predict", "--input", str(tmp_path / "body"), "--content-type", "text/csv")
    done = command(tmp_path, tmp_path / "model", *words)
    assert (done.returncode, done.stdout) == (0, b'{"predictions":[1]}\n')


def test_predict_tells_errors_on_stderr(tmp_path: Path) -> None:
    """A body that cannot be answered is an error document on standard error and status 1."""
    write_model(tmp_path / "model", Failing())
    for body, code in ((b"{", "BAD_REQUEST"), (BODY.encode(), "INTERNAL_ERROR")):
        done = command(tmp_path, tmp_path / "model", "predict", body=body)
        assert (done.returncode, done.stdout) == (1, b"")
        assert json.loads(done.stderr.splitlines()[-1])["error_code"] == code
        assert b"Traceback" not in done.stderr
        assert b"secret" not in done.stderr


def test_provenance_prints_the_label_file(tmp_path: Path) -> None:
    """`provenance` prints the label file byte for byte, and fails with a hint where there is none."""
    missing = command(tmp_path, tmp_path, "provenance")
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert b"RUNBAKE_PROVENANCE" in missing.stderr
    (tmp_path / "provenance.json").write_bytes(b'{"run": 1}\n')
    assert command(tmp_path, tmp_path, "provenance").stdout == b'{"run": 1}\n'


def test_what_cannot_start_says_why(tmp_path: Path, iris_model: Path) -> None:
    """No model, a misspelt setting, a taken port, an unknown command: an error, a hint, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        runs = (
            (command(tmp_path, tmp_path / "none", "serve"), 1, b"MLmodel"),
            (command(tmp_path, iris_model, RUNBAKE_WORKER="1"), 1, b"RUNBAKE_WORKERS"),
            (command(tmp_path, iris_model, "serve", RUNBAKE_PORT=port), 1, b"RUNBAKE_PORT"),
            (command(tmp_path, iris_model, "bake"), 2, b"bake"),
        )
    for done, status, word in runs:
        assert done.returncode == status
        assert word in done.stderr
        assert b"Traceback" not in done.stderr


def label_files(root: Path) -> str:
    """A label file that names the files of a model's directory."""
    files = [
        {
            "path": path.relative_to(root).as_posix(),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in root.rglob("*")
        if path.is_file()
    ]
    return json.dumps({"run": {"id": "c"}, "model": {"files": files}})


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    """The files of the label file are served, also twice; a changed byte is an error before it is loaded."""
    write_model(tmp_path / "model", Sleeper(str(tmp_path / "started"), 0.0))
    (tmp_path / "provenance.json").write_text(label_files(tmp_path / "model"))
    for _ in range(2):
        assert command(tmp_path, tmp_path / "model", "predict", body=BODY.encode()).returncode == 0
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1") as server:
        assert server.stopped() == 0
    with (tmp_path / "model" / "model.pkl").open("ab") as file:
        file.write(b"x")
    for words in (("serve",), ("predict",)):
        done = command(tmp_path, tmp_path / "model", *words, body=BODY.encode())
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"'model.pkl'" in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_model_that_fails_at_its_example_is_not_served(tmp_path: Path) -> None:
    """It ends with 72, said in the log, and does not try for ever."""
    write_model(tmp_path / "model", Failing(), example=BODY)
    done = command(tmp_path, tmp_path / "model", "serve", RUNBAKE_WORKERS="2")
    assert done.returncode == 72
    assert b"fails at its own example" in done.stderr
    assert b"secret" not in done.stderr


def test_sigterm_while_the_example_takes_for_ever(tmp_path: Path) -> None:
    """A warm-up that does not end is not waited for."""
    started = tmp_path / "started"
    write_model(tmp_path / "model", Sleeper(str(started), 3600.0), example=BODY)
    process = subprocess.Popen(
        [sys.executable, "-m", "runbake_serving"],
        env=environment(tmp_path, tmp_path / "model", RUNBAKE_UDS=str(tmp_path / "s"), RUNBAKE_WORKERS="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(started)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_requests_are_told_apart_in_the_log(tmp_path: Path, iris_model: Path) -> None:
    """A caller's sane request id and trace are in the log; others are replaced, and no id comes twice."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    sane = {"X-Request-Id": "order-7:a", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    foreign = {"X-Request-Id": 'x" \\ <script>', "traceparent": "00-nonsense"}
    with running(tmp_path, iris_model, RUNBAKE_WORKERS="2") as server:
        for headers in (sane, foreign, {}, {}):
            connection = server.connect()
            connection.request("GET", "/version", None, headers)
            answer = connection.getresponse()
            assert (answer.read(), answer.getheader("X-Request-Id") == "order-7:a") == (
                b"3.17.2",
                headers is sane,
            )
            connection.close()
        assert server.stopped() == 0
    told = [event for event in server.events() if event.get("path") == "/version"]
    assert [event.get("trace_id") for event in told].count(trace) == 1
    assert len({event["request"] for event in told}) == 4
    assert "script" not in server.log.read_text()
