"""GoCD's API as its documentation tells it, and no friendlier: a strict double, in this process or over HTTP.

It was never compared with a real server. What it answers is checked by the schemas in `schemas.py`, which the
examples written after the documentation's pass too.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NOT_FOUND_TEXT = "The url you are trying to reach appears to be incorrect."
_VERSIONED = re.compile(r"application/vnd\.go\.cd(?:\.v(?P<version>\d+))?\+json")
_LABEL_PART = re.compile(r"\$\{(?:env:(?P<env>\w+)|(?P<count>COUNT))\}")
_PACKAGE_COMMENT = json.dumps(
    {
        "TYPE": "PACKAGE_MATERIAL",
        "TRACKBACK_URL": "http://mlflow.example.org#/experiments/1/runs/abc",
        "COMMENT": "New model pushed in run: abc",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/vnd.go.cd.v1+json; charset=utf-8"

    @property
    def document(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """A pipeline's configuration and its runs; `runs` are (counter, label, variables), the oldest first."""

    label_template: str = "${COUNT}-${env:RUNBAKE_REQUEST}"
    variables: tuple[str, ...] = ("RUNBAKE_RUN_ID", "RUNBAKE_REQUEST")
    operators: tuple[str, ...] = ("trigger",)
    paused: bool = False
    locked: bool = False
    starting: bool = False
    runs: list[tuple[int, str, Mapping[str, str]]] = field(default_factory=list)


class GocdDouble:
    """The server's state; a scheduled run appears after `appear_after` later requests."""

    def __init__(self, *pipelines: str, appear_after: int = 1) -> None:
        self.pipelines = {name: Pipeline() for name in pipelines}
        self.tokens = {"right": "trigger", "viewer": "viewer"}
        self.passwords = {"trigger": "secret"}
        self.maintenance = False
        self.asked: list[str] = []
        self._appear_after = appear_after
        self._queue: list[tuple[int, str, Mapping[str, str]]] = []
        self._mutex = threading.Lock()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """What GoCD says to one request."""
        with self._mutex:
            self.asked.append(f"{method} {target}")
            lowered = {name.lower(): value for name, value in headers.items()}
            answered = self._answer(method, urlsplit(target).path, target, lowered, body)
            self._pass_time()
            return answered

    def forget_queue(self) -> None:
        """The server was restarted: what it had accepted and not started is gone."""
        self._queue.clear()

    def appear(self) -> None:
        """Let every accepted request become a run now."""
        for _, name, variables in self._queue:
            self._start(name, variables)
        self._queue.clear()

    def _answer(
        self, method: str, path: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Answered:
        if not path.startswith("/go/api/"):
            return _text(404, NOT_FOUND_TEXT)
        parts = [unquote(part) for part in path.removeprefix("/go/api/").split("/")]
        route = _route(method, parts)
        accepted = _VERSIONED.fullmatch(headers.get("accept", ""))
        if route is None or accepted is None or accepted["version"] not in (None, "1"):
            return _text(404, NOT_FOUND_TEXT)
        if route == "version":
            return _json(200, {"version": "26.1.0", "build_number": "1", "git_sha": "a", "full_version": "b"})
        user = self._user(headers.get("authorization", ""))
        if user is None:
            return _json(401, {"message": "You are not authenticated!"})
        if method != "GET" and (refused := self._refused_write(headers, body)) is not None:
            return refused
        pipeline = self.pipelines.get(parts[1])
        if pipeline is None:
            message = (
                f"Either the resource you requested was not found, or you are not authorized: {parts[1]}"
            )
            return _json(404, {"message": message})
        if route == "history":
            return self._history(parts[1], pipeline, target)
        if route == "instance":
            return self._instance(parts[1], pipeline, parts[2])
        if route == "status":
            return _json(
                200,
                {
                    "paused": pipeline.paused,
                    "paused_cause": None,
                    "paused_by": None,
                    "locked": pipeline.locked,
                    "schedulable": not (pipeline.paused or pipeline.locked or pipeline.starting),
                },
            )
        if user not in pipeline.operators:
            return _json(403, {"message": "You are not authorized to perform this action."})
        return self._schedule(parts[1], pipeline, body)

    def _user(self, header: str) -> str | None:
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return self.tokens.get(value)
        if scheme.lower() == "basic":
            name, _, password = base64.b64decode(value).decode().partition(":")
            return name if self.passwords.get(name) == password else None
        return None

    def _refused_write(self, headers: Mapping[str, str], body: bytes) -> Answered | None:
        if self.maintenance:
            return _json(503, {"message": "server is in maintenance mode, please try later."})
        if body and headers.get("content-type", "").partition(";")[0] != "application/json":
            return _json(415, {"message": "You must specify a 'Content-Type' of 'application/json'"})
        if not body and headers.get("x-gocd-confirm", "") != "true":
            return _json(400, {"message": "Missing required header 'X-GoCD-Confirm'"})
        return None

    def _schedule(self, name: str, pipeline: Pipeline, body: bytes) -> Answered:
        try:
            asked = json.loads(body or b"{}")
        except ValueError:
            return _json(422, {"message": "Payload data is not valid JSON"})
        variables = {each["name"]: each["value"] for each in asked.get("environment_variables", ())}
        for variable in variables:
            if variable not in pipeline.variables:
                said = f"Variable '{variable}' has not been configured for pipeline '{name}'"
                return _json(422, {"message": f"Request to schedule pipeline rejected {{ {said} }}"})
        queued = any(each[1] == name for each in self._queue)
        for is_so, why in (
            (pipeline.paused, "is paused"),
            (pipeline.locked, "is locked"),
            (pipeline.starting, "cannot be triggered: its first stage is running"),
            (queued, "is already triggered"),
        ):
            if is_so:
                said = f"Failed to trigger pipeline [{name}] {{ Pipeline {name} {why} }}"
                return _json(409, {"message": said})
        self._queue.append((self._appear_after + 1, name, variables))
        return _json(202, {"message": f"Request to schedule pipeline {name} accepted"})

    def _pass_time(self) -> None:
        waiting = [(left - 1, name, variables) for left, name, variables in self._queue]
        for left, name, variables in waiting:
            if left <= 0:
                self._start(name, variables)
        self._queue = [each for each in waiting if each[0] > 0]

    def _start(self, name: str, variables: Mapping[str, str]) -> None:
        pipeline = self.pipelines[name]
        counter = len(pipeline.runs) + 1

        def part(found: re.Match[str]) -> str:
            return str(counter) if found["count"] else variables.get(found["env"], "")

        label = _LABEL_PART.sub(part, pipeline.label_template)[:255]
        pipeline.runs.append((counter, label, dict(variables)))

    def _history(self, name: str, pipeline: Pipeline, target: str) -> Answered:
        query = parse_qs(urlsplit(target).query)
        size = int(query.get("page_size", ["10"])[0])
        if not 10 <= size <= 100:
            said = "The query parameter 'page_size', if specified must be a number between 10 and 100."
            return _json(400, {"message": said})
        newest_first = pipeline.runs[::-1]
        if "after" in query:
            newest_first = [run for run in newest_first if run[0] < int(query["after"][0])]
        shown, rest = newest_first[:size], newest_first[size:]
        base = f"https://ci.example.org/go/api/pipelines/{name}/history"
        links = {"next": {"href": f"{base}?page_size={size}&after={shown[-1][0]}"}} if rest else {}
        return _json(200, {"_links": links, "pipelines": [_instance(name, run) for run in shown]})

    def _instance(self, name: str, pipeline: Pipeline, counter: str) -> Answered:
        found = next((run for run in pipeline.runs if str(run[0]) == counter), None)
        if found is None:
            return _json(404, {"message": f"Pipeline {name} with counter {counter} not found"})
        return _json(200, _instance(name, found))


def _route(method: str, parts: list[str]) -> str | None:
    match (method, parts):
        case ("GET", ["version"]):
            return "version"
        case ("POST", ["pipelines", _, "schedule"]):
            return "schedule"
        case ("GET", ["pipelines", _, "history"]):
            return "history"
        case ("GET", ["pipelines", _, "status"]):
            return "status"
        case ("GET", ["pipelines", _, counter]) if counter.isdigit():
            return "instance"
        case _:
            return None


def _instance(name: str, run: tuple[int, str, Mapping[str, str]]) -> dict[str, object]:
    counter, label, _ = run
    modification = {
        "revision": "0123456789abcdef0123456789abcdef",
        "modified_time": 1_700_000_000_000,
        "user_name": "mlflow",
        "comment": _PACKAGE_COMMENT,
        "email_address": None,
    }
    material = {"name": "fraud", "fingerprint": "f" * 64, "type": "Package", "description": "Repository: ml"}
    job = {"name": "image", "scheduled_date": 1_700_000_000_000, "state": "Scheduled", "result": "Unknown"}
    return {
        "name": name,
        "counter": counter,
        "label": label,
        "natural_order": float(counter),
        "can_run": False,
        "preparing_to_schedule": False,
        "comment": None,
        "scheduled_date": 1_700_000_000_000,
        "build_cause": {
            "trigger_message": "Forced by trigger",
            "trigger_forced": True,
            "approver": "trigger",
            "material_revisions": [{"changed": False, "material": material, "modifications": [modification]}],
        },
        "stages": [
            {
                "result": "Unknown",
                "status": "Building",
                "rerun_of_counter": None,
                "name": "containerize",
                "counter": "1",
                "scheduled": True,
                "approval_type": "success",
                "approved_by": "trigger",
                "operate_permission": True,
                "can_run": False,
                "jobs": [job],
            }
        ],
    }


def _json(status: int, document: object) -> Answered:
    return Answered(status=status, body=json.dumps(document).encode())


def _text(status: int, text: str) -> Answered:
    return Answered(status=status, body=text.encode(), content_type="text/plain; charset=utf-8")


@contextmanager
def serving(double: GocdDouble) -> Iterator[str]:
    """`http://127.0.0.1:PORT/go` of the double, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answered = double.answer(self.command, self.path, dict(self.headers.items()), body)
            self.send_response(answered.status)
            self.send_header("Content-Type", answered.content_type)
            self.send_header("Content-Length", str(len(answered.body)))
            self.end_headers()
            self.wfile.write(answered.body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the requests are in `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/go"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
