"""GoCD's API: the double is as strict as the documentation, and our client speaks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from runbake.errors import ConfigError, GocdAuthError, GocdError, GocdUnreachable, PipelineBusy
from runbake.gocd import Bearer, GocdServer, PipelineRun
from tests.contract.gocd import schemas
from tests.contract.gocd.gocd_double import NOT_FOUND_TEXT, GocdDouble, serving

V1 = {"Accept": "application/vnd.go.cd.v1+json", "Authorization": "bearer right"}
SCHEDULE = "/go/api/pipelines/fraud/schedule"
HISTORY = "/go/api/pipelines/fraud/history"


def check(document: object, schema: dict[str, Any]) -> None:
    """The document passes the schema."""
    Draft202012Validator(schema).validate(document)


@pytest.fixture
def double() -> GocdDouble:
    """A server with one pipeline."""
    return GocdDouble("fraud")


@pytest.fixture
def server(double: GocdDouble) -> Iterator[GocdServer]:
    """Our client of that server, over HTTP."""
    with serving(double) as url, requests.Session() as session:
        session.auth = Bearer("right")
        yield GocdServer(url, session=session)


@pytest.mark.parametrize(("schema", "example"), schemas.DOCUMENTED)
def test_the_schemas_accept_what_the_documentation_shows(schema: dict[str, Any], example: object) -> None:
    """And refuse it without any one of the members that they require, so that they say something."""
    check(example, schema)
    assert isinstance(example, dict)
    for member in schema["required"]:
        less = {key: value for key, value in example.items() if key != member}
        assert not Draft202012Validator(schema).is_valid(less)


@pytest.mark.parametrize("counter", [1, "one", None])
def test_a_stages_counter_is_a_text_of_digits(counter: object) -> None:
    """The one trap of the history that looks like a mistake."""
    document = json.loads(json.dumps(schemas.DOCUMENTED[-1][1]))
    document["pipelines"][0]["stages"][0]["counter"] = counter

    assert not Draft202012Validator(schemas.HISTORY).is_valid(document)


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status", "said"),
    [
        ("GET", "/go/api/version", {"Accept": "application/json"}, b"", 404, NOT_FOUND_TEXT),
        ("GET", "/go/api/version", {}, b"", 404, NOT_FOUND_TEXT),
        ("GET", HISTORY, {**V1, "Accept": "application/vnd.go.cd.v2+json"}, b"", 404, NOT_FOUND_TEXT),
        ("GET", "/go/api/nothing", V1, b"", 404, NOT_FOUND_TEXT),
        ("POST", HISTORY, V1, b"", 404, NOT_FOUND_TEXT),
        ("GET", HISTORY, {"Accept": V1["Accept"]}, b"", 401, "not authenticated"),
        ("GET", HISTORY, {**V1, "Authorization": "bearer wrong"}, b"", 401, "not authenticated"),
        ("GET", "/go/api/pipelines/none/history", V1, b"", 404, "not found, or you are not authorized"),
        ("POST", SCHEDULE, V1, b"", 400, "X-GoCD-Confirm"),
        ("POST", SCHEDULE, V1, b"{}", 415, "Content-Type"),
        ("POST", SCHEDULE, {**V1, "Content-Type": "text/json"}, b"{}", 415, "Content-Type"),
        (
            "POST",
            SCHEDULE,
            {**V1, "X-GoCD-Confirm": "true", "Authorization": "bearer viewer"},
            b"",
            403,
            "not authorized",
        ),
        (
            "POST",
            SCHEDULE,
            {**V1, "Content-Type": "application/json"},
            b'{"environment_variables": [{"name": "X", "value": "1"}]}',
            422,
            "rejected { Variable 'X' has not been configured for pipeline 'fraud' }",
        ),
        ("GET", f"{HISTORY}?page_size=5", V1, b"", 400, "between 10 and 100"),
        ("GET", "/go/api/pipelines/fraud/9", V1, b"", 404, "not found"),
    ],
)
def test_the_double_refuses_as_gocd_does(
    double: GocdDouble, method: str, target: str, headers: dict[str, str], body: bytes, status: int, said: str
) -> None:
    """Each rule of the documentation has its refusal; nothing was scheduled."""
    answered = double.answer(method, target, headers, body)

    assert (answered.status, said in answered.body.decode()) == (status, True)
    if answered.content_type.startswith("application"):
        check(answered.document, schemas.MESSAGE)
    double.appear()
    assert double.pipelines["fraud"].runs == []


def test_a_scheduled_run_appears_later_in_documented_shape(double: GocdDouble) -> None:
    """202 without a counter; then history, instance, status and version as the documentation shows them."""
    answered = double.answer("POST", SCHEDULE, {**V1, "X-GoCD-Confirm": "true"}, b"")
    check(answered.document, schemas.MESSAGE)
    assert (answered.status, "counter" in answered.body.decode()) == (202, False)
    assert double.answer("GET", HISTORY, V1, b"").document["pipelines"] == []

    history = double.answer("GET", HISTORY, V1, b"").document
    check(history, schemas.HISTORY)
    material = history["pipelines"][0]["build_cause"]["material_revisions"][0]
    check(json.loads(material["modifications"][0]["comment"]), schemas.PACKAGE_COMMENT)
    check(double.answer("GET", "/go/api/pipelines/fraud/1", V1, b"").document, schemas.INSTANCE)
    check(double.answer("GET", "/go/api/pipelines/fraud/status", V1, b"").document, schemas.STATUS)
    check(double.answer("GET", "/go/api/version", {"Accept": V1["Accept"]}, b"").document, schemas.VERSION)


def test_our_client_schedules_and_finds_its_run(server: GocdServer, double: GocdDouble) -> None:
    """By the request id in the label, also from the second page; the URL is the value stream map's."""
    server.schedule("fraud", {"RUNBAKE_RUN_ID": "1" * 32, "RUNBAKE_REQUEST": "aa11"})
    double.appear()
    for number in range(130):
        server.schedule("fraud", {"RUNBAKE_REQUEST": f"other{number}"})
        double.appear()

    assert server.find("fraud", "aa11") is None, "without `after`, only the latest page is read"
    assert server.find("fraud", "other129") == PipelineRun(
        pipeline="fraud",
        counter=131,
        label="131-other129",
        url=f"{server.url}/pipelines/value_stream_map/fraud/131",
    )
    assert server.newest("fraud") == 131
    oldest = server.find("fraud", "other7", after=2)
    assert oldest is not None
    assert oldest.counter == 9


def test_what_our_client_sends_is_what_the_documentation_asks_for() -> None:
    """The body of its request passes the same schema as the documented one."""
    bodies: list[object] = []

    class Listening(GocdDouble):
        def answer(self, method: str, target: str, headers: Any, body: bytes) -> Any:
            bodies.append(json.loads(body) if body else None)
            return super().answer(method, target, headers, body)

    with serving(Listening("fraud")) as url, requests.Session() as session:
        session.auth = ("trigger", "secret")
        GocdServer(url, session=session).schedule("fraud", {"RUNBAKE_RUN_ID": "x"})

    check(bodies[0], schemas.SCHEDULE)


@pytest.mark.parametrize(
    ("changes", "token", "error", "said"),
    [
        ({"paused": True}, "right", PipelineBusy, "Pipeline fraud is paused"),
        ({"locked": True}, "right", PipelineBusy, "is locked"),
        ({"starting": True}, "right", PipelineBusy, "first stage is running"),
        ({"variables": ()}, "right", GocdError, "has not been configured"),
        ({}, "viewer", GocdAuthError, "403"),
        ({}, "wrong", GocdAuthError, "401"),
    ],
)
def test_each_refusal_is_an_error_of_its_own(
    double: GocdDouble, changes: dict[str, object], token: str, error: type[GocdError], said: str
) -> None:
    """With GoCD's own words, and never with the token."""
    for name, value in changes.items():
        setattr(double.pipelines["fraud"], name, value)
    with serving(double) as url, requests.Session() as session:
        session.auth = Bearer(token)
        with pytest.raises(GocdError, match=said) as caught:
            GocdServer(url, session=session).schedule("fraud", {"RUNBAKE_RUN_ID": "x"})

    assert type(caught.value) is error
    assert token not in f"{caught.value} {caught.value.hint}"


def test_a_missing_pipeline_and_a_maintained_server_are_told_apart(
    server: GocdServer, double: GocdDouble
) -> None:
    """The first is somebody's mistake, the second will pass."""
    with pytest.raises(GocdError, match="404") as caught:
        server.newest("none")
    assert type(caught.value) is GocdError
    double.maintenance = True
    with pytest.raises(GocdUnreachable, match="maintenance mode"):
        server.schedule("fraud", {})


@pytest.mark.parametrize("url", ["ci.example.org/go", "https://user:word@ci.example.org/go", ""])
def test_a_server_that_cannot_be_one_is_refused(url: str) -> None:
    """Without showing the credentials that were in it."""
    with pytest.raises(ConfigError) as caught:
        GocdServer(url, session=requests.Session())
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../admin", "-x", "a/b", "a?b", "x" * 256])
def test_no_name_of_a_pipeline_leaves_its_place_in_the_path(server: GocdServer, name: str) -> None:
    """Nothing is asked."""
    with pytest.raises(ConfigError):
        server.newest(name)


def test_no_answer_and_a_login_page_are_no_answers_of_gocd() -> None:
    """A closed port, a redirect to a login and a page of HTML: unreachable, or not GoCD's."""
    answers = iter([(302, b""), (200, b"<html>please log in</html>")])

    class Login(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = next(answers)
            self.send_response(status)
            self.send_header("Location", "https://login.example.org")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Login) as before, requests.Session() as session:
        threading.Thread(target=lambda: [before.handle_request() for _ in range(2)], daemon=True).start()
        gocd = GocdServer(f"http://127.0.0.1:{before.server_address[1]}/go", session=session)
        for said in ("302", "200"):
            with pytest.raises(GocdError, match=said):
                gocd.newest("fraud")
    with requests.Session() as session, pytest.raises(GocdUnreachable, match="no answer"):
        GocdServer("http://127.0.0.1:9/go", session=session).newest("fraud")
