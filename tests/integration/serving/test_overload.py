"""The real process under too much: what it accepts is answered in time, the rest is refused at once."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from pathlib import Path

from tests.integration.serving.test_process import (
    BODY,
    DEADLINE_S,
    Running,
    Sleeper,
    running,
    wait_for,
    write_model,
)


def ask_until(server: Running, until: float, seen: list[tuple[int, float, bool]]) -> None:
    """Ask again and again on one connection; status, seconds, and whether a retry was offered."""
    connection = server.connect()
    while time.monotonic() < until:
        started = time.monotonic()
        connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        seen.append((answer.status, time.monotonic() - started, answer.getheader("Retry-After") is not None))
        if answer.status == 503:
            time.sleep(0.02)  # an impatient caller, not a busy loop that takes the server's core
    connection.close()


def test_overload(tmp_path: Path) -> None:
    """At many times the load: 200 within the deadline or 503 with Retry-After; then 200 again at once."""
    write_model(tmp_path / "model", Sleeper(str(tmp_path / "asked"), 0.05), example=BODY)
    seen: list[tuple[int, float, bool]] = []
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1", RUNBAKE_DEADLINE_S="2") as server:
        until = time.monotonic() + 5
        callers = [threading.Thread(target=ask_until, args=(server, until, seen)) for _ in range(60)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(DEADLINE_S)
        assert server.ask("POST", "/invocations", BODY)[0] == 200
        assert server.stopped() == 0
    # 504 for what a busy machine did not get to in time; nothing else.
    assert {200, 503} <= {status for status, _, _ in seen} <= {200, 503, 504}
    accepted = sorted(seconds for status, seconds, _ in seen if status == 200)
    assert len(accepted) >= 10  # it can do 100
    assert accepted[int(len(accepted) * 0.99)] < DEADLINE_S
    assert all(offered for status, _, offered in seen if status == 503)


def test_a_queue_that_is_full(tmp_path: Path) -> None:
    """RUNBAKE_QUEUE requests are held; the next is refused while they wait, and they are answered."""
    started = tmp_path / "started"
    write_model(tmp_path / "model", Sleeper(str(started), 1.0))
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1", RUNBAKE_QUEUE="1") as server:
        connection = server.connect()
        connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
        wait_for(started)
        status, body, headers = server.ask("POST", "/invocations", BODY)
        assert (status, json.loads(body)["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(headers["retry-after"]) >= 1
        assert headers["content-type"] == "application/problem+json"
        assert server.ask("GET", "/ping")[0] == 200
        assert connection.getresponse().status == 200
        connection.close()


def test_a_deadline(tmp_path: Path) -> None:
    """A prediction that takes too long is answered 504 in time; what waited behind it never begins."""
    write_model(tmp_path / "model", Sleeper(str(tmp_path / "started"), 4.0))
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1", RUNBAKE_DEADLINE_S="1") as server:
        seen: list[int] = []

        def ask() -> None:
            seen.append(server.ask("POST", "/invocations", BODY)[0])

        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(DEADLINE_S)
        assert seen == [504] * 3
        server.stopped()
        assert server.log.read_text().count("predicting") <= 1


def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    """A body that stalls is 408 after RUNBAKE_BODY_TIMEOUT_S; until then it takes nobody's place or bytes."""
    write_model(tmp_path / "model", Sleeper(str(tmp_path / "asked"), 0.05))
    little = {"RUNBAKE_WORKERS": "1", "RUNBAKE_QUEUE": "1", "RUNBAKE_QUEUE_BYTES": "100"}
    with (
        running(tmp_path, tmp_path / "model", **little, RUNBAKE_BODY_TIMEOUT_S="1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as caller,
    ):
        caller.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert server.ask("POST", "/invocations", BODY)[0] == 200
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["status"]) == (408, 408)
        assert caller.recv(100) == b""


def test_drains_of_the_process_lose_nothing(tmp_path: Path) -> None:
    """SIGTERM under load: each request on an accepted connection is answered; the process ends with 0."""
    write_model(tmp_path / "model", Sleeper(str(tmp_path / "asked"), 0.05), example=BODY)
    lost: list[str] = []
    answered = threading.Semaphore(0)

    def caller(server: Running) -> None:
        while True:
            try:
                connection = server.connect()
                connection.connect()
            except OSError:
                return  # nobody serves any more
            try:
                for _ in range(3):
                    connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    answer.read()
                    answered.release()
                    if answer.status not in (200, 503):
                        lost.append(str(answer.status))
                    if answer.getheader("Connection") == "close":
                        break
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
            connection.close()

    for workers in ("1", "2"):
        (tmp_path / workers).mkdir()
        with running(tmp_path / workers, tmp_path / "model", RUNBAKE_WORKERS=workers) as server:
            callers = [threading.Thread(target=caller, args=(server,)) for _ in range(12)]
            for one in callers:
                one.start()
            for _ in range(50):  # the load has begun
                assert answered.acquire(timeout=DEADLINE_S)
            assert server.stopped() == 0
            for one in callers:
                one.join(DEADLINE_S)
    assert lost == []
