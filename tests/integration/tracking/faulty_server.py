"""A tiny HTTP server in this process that answers as told: what a real MLflow server cannot be made to do.

Either all of it is pretended, or it stands before a real server and misbehaves at chosen requests only.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came; `target` is its path and query as they were on the wire."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    target: str = ""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; `promised_bytes` over the body's length breaks the connection in the middle."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    promised_bytes: int | None = None

    @classmethod
    def json(cls, document: object, *, status: int = 200) -> Answer:
        """A JSON document."""
        return cls(
            status=status, body=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
        )


Respond = Callable[[Asked], Answer]


@dataclass(frozen=True, slots=True)
class FaultyServer:
    """The address, and every request so far."""

    uri: str
    asked: list[Asked]


@contextmanager
def answering(respond: Respond) -> Iterator[FaultyServer]:
    """Serve on a free loopback port until the block ends."""
    asked: list[Asked] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(respond, asked))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield FaultyServer(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(respond: Respond, asked: list[Asked]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            url = urlsplit(self.path)
            request = Asked(
                method=self.command,
                path=unquote(url.path),
                query=dict(parse_qsl(url.query, keep_blank_values=True)),
                headers={k.lower(): v for k, v in self.headers.items()},
                target=self.path,
                body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            asked.append(request)
            self._send(respond(request))

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            promised = answer.promised_bytes if answer.promised_bytes is not None else len(answer.body)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(answer.body)
            if promised != len(answer.body):
                self.close_connection = True

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the requests are in `asked`."""

    return Handler


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong at the first `times` requests, after `after` good ones, whose "METHOD /path" matches.

    `act` answers, or makes its answer out of the real server's.
    """

    at: str
    act: Answer | Callable[[Answer], Answer]
    times: int = 1_000_000
    after: int = 0

    def takes(self, asked: Asked) -> bool:
        """Whether this request is one of them; it is counted."""
        if not self.times or not re.search(self.at, f"{asked.method} {asked.path}"):
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


def standing_before(uri: str, *faults: Fault) -> Respond:
    """The answers of the server at `uri`, with these faults."""
    mutex = threading.Lock()

    def respond(asked: Asked) -> Answer:
        with mutex:
            fault = next((each for each in faults if each.takes(asked)), None)
        if fault is None:
            return _forwarded(uri, asked)
        return fault.act if isinstance(fault.act, Answer) else fault.act(_forwarded(uri, asked))

    return respond


def _forwarded(uri: str, asked: Asked) -> Answer:
    kept = ("accept", "authorization", "content-type")
    answer = requests.request(
        asked.method,
        f"{uri}{asked.target}",
        data=asked.body,
        headers={name: asked.headers[name] for name in kept if name in asked.headers},
        timeout=60,
    )
    content_type = answer.headers.get("Content-Type", "application/octet-stream")
    return Answer(status=answer.status_code, body=answer.content, headers={"Content-Type": content_type})


RUN_ID = "0123456789abcdef0123456789abcdef"
MODEL_ID = "m-0123456789abcdef0123456789abcdef"
_API = "/api/2.0/mlflow"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def pretending(
    *,
    files: Callable[[str], list[dict[str, object]]] | None = None,
    content: Callable[[str], Answer] | None = None,
    location: str = "mlflow-artifacts:/1/models/m/artifacts",
) -> Respond:
    """The answers of an MLflow server with one promoted run and one model.

    Args:
        files: what a directory lists, by its path below the model.
        content: the answer for one file.
        location: where the model says that its artifacts are.
    """
    documents = {
        f"{_API}/experiments/search": {"experiments": []},
        f"{_API}/experiments/get": {"experiment": {"experiment_id": "1", "name": "pretence"}},
        f"{_API}/runs/get": {"run": _RUN},
        f"{_API}/logged-models/{MODEL_ID}": {"model": {"info": _model(location)}},
        f"{_API}/logged-models/search": {"models": [{"info": _model(location)}]},
    }

    def respond(asked: Asked) -> Answer:
        if asked.path == _PROXY and files is not None:
            below = asked.query.get("path", "").partition("/artifacts")[2].strip("/")
            return Answer.json({"files": files(below)})
        if asked.path.startswith(_PROXY) and content is not None:
            return content(asked.path.partition("/m/artifacts/")[2])
        if asked.path in documents:
            return Answer.json(documents[asked.path])
        return Answer.json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"}, status=404)

    return respond


_RUN: dict[str, object] = {
    "info": {
        "run_id": RUN_ID,
        "run_uuid": RUN_ID,
        "experiment_id": "1",
        "status": "FINISHED",
        "start_time": 1_700_000_000_000,
        "end_time": 1_700_000_001_000,
        "artifact_uri": f"mlflow-artifacts:/1/{RUN_ID}/artifacts",
        "lifecycle_stage": "active",
    },
    "data": {"tags": [{"key": "promote", "value": "true"}]},
}


def _model(location: str) -> dict[str, object]:
    return {
        "model_id": MODEL_ID,
        "experiment_id": "1",
        "name": "model",
        "artifact_uri": location,
        "creation_timestamp_ms": 1_700_000_000_000,
        "last_updated_timestamp_ms": 1_700_000_000_000,
        "status": "LOGGED_MODEL_READY",
        "source_run_id": RUN_ID,
    }
