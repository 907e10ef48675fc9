"""What an engine refuses or breaks becomes an error of ours, with its own words."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker.errors
import pytest
from urllib3.exceptions import ProtocolError

from runbake.deploy.service import LABEL_NAME
from runbake.errors import EngineError, EngineMissing
from runbake.image import Digest
from runbake.runtime import Engine, serve_locally
from runbake.runtime.container import _demultiplexed
from runbake.runtime.failure import translated
from runbake_serving.contract import LABEL_RUN_ID

Answer = Callable[[BaseHTTPRequestHandler], None]
VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}
DIGEST = Digest.of(b"")


class ThinEngine(BaseHTTPRequestHandler):
    """Says that it is an engine, and answers everything else as the test wants."""

    answer: Answer

    def do_GET(self) -> None:
        if self.path.endswith("/_ping"):
            reply(self, 200, "OK")
        elif self.path.endswith("/version"):
            reply(self, 200, json.dumps(VERSION))
        else:
            type(self).answer(self)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).answer(self)

    do_DELETE = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what went wrong."""


def reply(to: BaseHTTPRequestHandler, status: int, body: str) -> None:
    """Answer as the engine's API does."""
    to.send_response(status)
    to.send_header("Content-Type", "application/json")
    to.send_header("Content-Length", str(len(body.encode())))
    to.end_headers()
    to.wfile.write(body.encode())


@contextmanager
def engine_that(answer: Answer, kind: type[ThinEngine] = ThinEngine) -> Iterator[Engine]:
    """A connected engine whose every answer is `answer`."""
    handler = type("Handler", (kind,), {"answer": staticmethod(answer)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Engine.connect({"DOCKER_HOST": f"tcp://127.0.0.1:{server.server_port}"})
        finally:
            server.shutdown()
            thread.join()


def refuse(status: int) -> Answer:
    """An answer with this status and the engine's own words."""
    return lambda to: reply(to, status, json.dumps({"message": "no space left for layers"}))


def hang_up(to: BaseHTTPRequestHandler) -> None:
    """End the connection without an answer, as an engine does that is stopped."""
    to.close_connection = True
    to.connection.close()


ACTIONS: dict[str, Callable[[Engine], object]] = {
    "pull h.x/n@sha256": lambda engine: engine.pull("h.x/n", DIGEST),
    "inspect name": lambda engine: engine.entrypoint("name"),
    "create a container of name": lambda engine: engine.run_detached("name"),
    "look for container c": lambda engine: engine.find_container("c"),
    "list its images": lambda engine: engine.pulled("h.x/n", DIGEST).__enter__(),
}


@pytest.mark.parametrize("doing", ACTIONS)
def test_a_refusal_has_the_engines_own_words(doing: str) -> None:
    """What was tried, on what, and what the engine said."""
    with engine_that(refuse(500)) as engine, pytest.raises(EngineError) as caught:
        ACTIONS[doing](engine)

    assert str(caught.value).startswith(f"the engine failed to {doing}")
    assert str(caught.value).endswith("no space left for layers")


@pytest.mark.parametrize("doing", ACTIONS)
def test_an_engine_that_goes_away_is_named_so(doing: str) -> None:
    """The connection ends in the middle: no traceback, and where to look."""
    with engine_that(hang_up) as engine, pytest.raises(EngineError, match="lost the engine") as caught:
        ACTIONS[doing](engine)

    assert doing in str(caught.value)
    assert "runbake doctor" in caught.value.hint


def test_what_the_engine_cannot_pull_says_how_registries_are_reached() -> None:
    """The engine answers 200 first, and tells of the failure in the stream."""
    line = json.dumps({"error": "http: server gave HTTP response to HTTPS client"}) + "\n"

    with (
        engine_that(lambda to: reply(to, 200, line)) as engine,
        pytest.raises(EngineError, match="HTTP response to HTTPS client") as caught,
    ):
        engine.pull("h.x/n", DIGEST)
    assert "insecure-registries" in caught.value.hint


def test_nobody_there_is_an_error_of_its_own() -> None:
    """It names the address that was tried."""
    with pytest.raises(EngineMissing, match=r"tcp://127\.0\.0\.1:1"):
        Engine.connect({"DOCKER_HOST": "tcp://127.0.0.1:1"})


def test_a_container_that_is_not_there_is_no_error() -> None:
    """Asking for it is how one finds out."""
    with engine_that(refuse(404)) as engine:
        assert engine.find_container("c") is None


def test_podman_is_told_by_its_name_and_by_its_tags() -> None:
    """It shows a registry for names without one; a proof's tag is known all the same."""
    version = {**VERSION, "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}
    images = [
        {"Id": "1", "RepoTags": ["docker.io/library/runbake-proof:0"], "RepoDigests": []},
        {"Id": "2", "RepoTags": ["localhost/runbake-proof:1"], "RepoDigests": None},
        {"Id": "3", "RepoTags": ["docker.io/library/wine:1"], "RepoDigests": ["h.x/wine@sha256:0"]},
    ]

    class Podman(ThinEngine):
        def do_GET(self) -> None:
            if self.path.endswith("/version"):
                reply(self, 200, json.dumps(version))
            else:
                super().do_GET()

    with engine_that(lambda to: reply(to, 200, json.dumps(images)), Podman) as engine:
        assert engine.description == "Podman 20.10.24, linux/amd64"
        assert engine._kept_images() == {"3", "h.x/wine@sha256:0"}


def test_a_failed_removal_does_not_hide_what_failed_first() -> None:
    """The proof's own failure is what the user must read; the rest is a note on it."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        if to.command == "POST":
            reply(to, 201, json.dumps({"Id": "1" * 64, "Warnings": []}))
        elif to.command == "GET":
            reply(to, 200, json.dumps({"Id": "1" * 64, "Config": {}, "State": {}}))
        else:
            reply(to, 500, json.dumps({"message": "device busy"}))

    def fail(engine: Engine) -> None:
        with engine.container("name"):
            raise ValueError("the proof failed")

    with engine_that(answer) as engine, pytest.raises(ValueError, match="the proof failed") as caught:
        fail(engine)
    assert any("device busy" in note for note in caught.value.__notes__)


def engine_whose_command_ended(exit_code: int | None) -> AbstractContextManager[Engine]:
    """An engine that runs any command, ends the connection, and then tells this exit code."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        if to.path.endswith("/start"):
            to.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            to.close_connection = True
        elif to.path.endswith("/exec"):
            reply(to, 201, json.dumps({"Id": "e"}))
        elif "/exec/" in to.path:
            reply(to, 200, json.dumps({"Running": exit_code is None, "ExitCode": exit_code}))
        else:
            reply(to, 200, json.dumps({"Id": "1" * 64, "Config": {}, "State": {}}))

    return engine_that(answer)


def test_a_command_whose_connection_is_cut_did_not_succeed() -> None:
    """A server is ready when such a command ends with 0; nobody knows how this one ended."""
    with engine_whose_command_ended(None) as engine:
        found = engine.find_container("c")
        assert found is not None
        with pytest.raises(EngineError, match="ended before the command"):
            found.execute(["x"], {}, timeout_s=0.5)
    with engine_whose_command_ended(3) as engine:
        found = engine.find_container("c")
        assert found is not None
        assert found.execute(["x"], {}, timeout_s=5).exit_code == 3


FRAME = b"\1\0\0\0\0\0\0\2ok"


@pytest.mark.parametrize("sent", range(1, 2 * len(FRAME)))
def test_output_that_is_cut_within_a_frame_is_an_error(sent: int) -> None:
    """In the header or in what it announces; at the end of a frame it is the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((FRAME * 2)[:sent])
        theirs.close()
        if sent == len(FRAME):
            assert _demultiplexed(ours)[1] == "ok"
            return
        with pytest.raises(EngineError, match="ended before the command"):
            _demultiplexed(ours)


def test_a_deployed_service_is_not_replaced_by_a_run_of_its_name() -> None:
    """It serves callers: the hint is how it is ended, and the engine is told nothing."""
    labels = {LABEL_RUN_ID: "r", LABEL_NAME: "fraud"}
    told = []

    def answer(to: BaseHTTPRequestHandler) -> None:
        if to.command != "GET":
            told.append(to.path)
        reply(to, 200, json.dumps({"Id": "1" * 64, "Config": {"Labels": labels}, "State": {}}))

    with engine_that(answer) as engine, pytest.raises(EngineError, match="deployed fraud") as caught:
        serve_locally(engine, "image", port=0, name="fraud", keep=False).__enter__()
    assert "runbake undeploy fraud" in caught.value.hint
    assert told == []


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset"), BrokenPipeError(32, "broken"), ProtocolError("cut")]
)
def test_a_connection_that_is_reset_while_it_is_read_is_a_lost_engine(error: Exception) -> None:
    """As a command runs or a log is followed, the SDK lets these pass: they are no bugs of ours."""
    with pytest.raises(EngineError, match="lost the engine while trying to follow"), translated("follow"):
        raise error


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Bind for 127.0.0.1:8080 failed: port is already allocated", "--port"),
        ("listen tcp4 127.0.0.1:8080: bind: address already in use", "--port"),
        ("listen tcp4 10.9.9.9:8080: bind: cannot assign requested address", "--bind"),
        ("something else", "runbake doctor"),
    ],
)
def test_what_to_try_when_a_port_cannot_be_had(said: str, hint: str) -> None:
    """A port or an address that is not to be had names the flag that chooses another."""
    with pytest.raises(EngineError, match=said) as caught, translated("start it"):
        raise docker.errors.APIError("500", explanation=said)
    assert hint in caught.value.hint
