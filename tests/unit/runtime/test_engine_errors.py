"""What an engine refuses or breaks becomes an error of ours, with its own words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runbake.errors import EngineError, EngineMissing
from runbake.image import Digest
from runbake.runtime import Engine

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
def engine_that(answer: Answer) -> Iterator[Engine]:
    """A connected engine whose every answer is `answer`."""
    handler = type("Handler", (ThinEngine,), {"answer": staticmethod(answer)})
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
