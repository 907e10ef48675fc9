"""Work beside the event loop has the deadline, the limits and the callers that all other work has."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa
import pytest

from runbake_serving.app import create_app
from runbake_serving.errors import DeadlinePassed, InvalidRequest
from runbake_serving.prediction.aside import Aside
from runbake_serving.prediction.calls import Raised
from runbake_serving.settings import Settings
from tests.unit.serving.test_app import JSON, LABELS, model_of

NEVER = float("inf")
LARGE = b'{"inputs": [' + b",".join([b"1"] * 50_000) + b"]}"


@contextmanager
def busy(aside: Aside) -> Iterator[threading.Event]:
    """Its thread holds until the event is set; that it has begun is waited for."""
    entered, go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        go.wait(30)

    task = asyncio.ensure_future(aside.do(hold, size_bytes=0, give_up_at=NEVER, caller={}))
    try:
        yield go
    finally:
        go.set()
        task.cancel()


async def begun(aside: Aside) -> None:
    """Return when nothing waits for the thread any more."""
    while aside.backlog_s() > 0:
        await asyncio.sleep(0)


def test_who_waits_too_long_or_has_left_is_not_worked_for() -> None:
    """A piece whose deadline passes while it waits, or whose caller is gone by its turn, is never begun."""
    done: list[str] = []

    async def ask() -> list[Any]:
        aside, caller, now_s = Aside(), dict[str, Any](), asyncio.get_running_loop().time()
        with busy(aside) as go:
            await asyncio.sleep(0)
            left = asyncio.ensure_future(
                aside.do(lambda: done.append("left"), size_bytes=1, give_up_at=NEVER, caller=caller)
            )
            stays = asyncio.ensure_future(
                aside.do(lambda: done.append("stays"), size_bytes=1, give_up_at=NEVER, caller={})
            )
            with pytest.raises(DeadlinePassed):
                await aside.do(lambda: done.append("late"), size_bytes=1, give_up_at=now_s, caller={})
            caller["gone"] = True
            assert aside.backlog_s() > 0
            go.set()
            found = await asyncio.wait_for(asyncio.gather(left, stays), 30)
            assert aside.backlog_s() == 0
        aside.close()
        return found

    left, stays = asyncio.run(ask())
    assert isinstance(left, Raised)
    assert isinstance(left.error, InvalidRequest)
    assert (stays, done) == (None, ["stays"])


def test_what_waits_is_reckoned_by_what_such_work_took() -> None:
    """The backlog grows with the size of what waits, by the pace of what was done before."""

    async def ask() -> tuple[float, float]:
        aside, pause = Aside(), threading.Event()
        await aside.do(lambda: pause.wait(0.05), size_bytes=1 << 16, give_up_at=NEVER, caller={})
        found = []
        for size_bytes in (1 << 16, 1 << 23):
            with busy(aside) as go:
                await asyncio.sleep(0)
                await begun(aside)
                waits = asyncio.ensure_future(
                    aside.do(lambda: None, size_bytes=size_bytes, give_up_at=NEVER, caller={})
                )
                await asyncio.sleep(0)
                found.append(aside.backlog_s())
                go.set()
                await waits
        aside.close()
        return found[0], found[1]

    small, large = asyncio.run(ask())
    assert small >= 0.05
    assert large >= 2.0


def answers(
    paths: Callable[[Any], Any], settings: Settings, occupy: Callable[[Any], Any] | None = None
) -> list[httpx.Response]:
    """Answers of an application to several requests at once."""

    async def ask() -> list[httpx.Response]:
        app = create_app(settings, model_of(), LABELS)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=JSON) as client:
            if occupy is not None:
                occupy(app.state.service.predictor)
            found: list[httpx.Response] = await asyncio.gather(*paths(client))
            app.state.service.predictor.close()
            return found

    return asyncio.run(ask())


def test_a_large_body_has_a_deadline() -> None:
    """What waits beside the event loop beyond the deadline is 504; small bodies do not wait there."""
    go = threading.Event()

    def occupy(predictor: Any) -> None:
        work = predictor.beside.do(lambda: go.wait(30), size_bytes=0, give_up_at=NEVER, caller={})
        tasks.append(asyncio.ensure_future(work))

    tasks: list[Any] = []
    large, page, small = answers(
        lambda client: [
            client.post("/invocations", content=LARGE),
            client.get("/"),
            client.post("/invocations", content=b'{"inputs": [1]}'),
        ],
        Settings(deadline_s=1),
        occupy,
    )
    go.set()
    assert (large.status_code, page.status_code, small.status_code) == (504, 504, 200)


class Full(Aside):
    """Where too much waits already."""

    def backlog_s(self) -> float:
        """Too long."""
        return 20.0


def fill(predictor: Any) -> None:
    """Let nothing more go beside the event loop."""
    predictor.beside.close()
    predictor.beside = Full()


def test_small_bodies_are_unpacked_at_once() -> None:
    """What is small and becomes small is not sent beside the event loop; what becomes large is."""
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1.0, 2.0]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    packed, arrow = {"content-encoding": "gzip"}, {"content-type": "application/vnd.apache.arrow.stream"}
    stream, bomb = sink.getvalue().to_pybytes(), gzip.compress(LARGE)
    assert len(bomb) < len(LARGE) // 100
    found = answers(
        lambda client: [
            client.post("/invocations", content=gzip.compress(b'{"inputs": [1, 2]}'), headers=packed),
            client.post("/invocations", content=stream, headers=arrow),
            client.post("/invocations", content=gzip.compress(stream), headers={**arrow, **packed}),
            client.post("/invocations", content=bomb, headers=packed),
        ],
        Settings(),
        fill,
    )
    assert [answer.status_code for answer in found] == [200, 200, 200, 503]
    assert [answer.json()["predictions"] for answer in found[:3]] == [[2]] * 3


def test_a_large_body_is_refused_where_too_much_waits() -> None:
    """What could not be begun in time is 503 at once, with Retry-After; small bodies are answered."""

    large, page, small = answers(
        lambda client: [
            client.post("/invocations", content=LARGE),
            client.get("/docs"),
            client.post("/invocations", content=b'{"inputs": [1]}'),
        ],
        Settings(deadline_s=30),
        fill,
    )
    assert (large.status_code, page.status_code, small.status_code) == (503, 503, 200)
    assert large.headers["retry-after"] == "20"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_pages_are_made_once(path: str) -> None:
    """A page is answered again without the thread that made it, also to who reached us by another name."""

    async def ask() -> list[str]:
        app = create_app(Settings(), model_of(), LABELS)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://first:1") as client:
            found = [(await client.get(path)).text]
            app.state.service.predictor.close()  # its thread takes nothing more
            again = await client.get(path, headers={"host": "second:2"})
            assert again.status_code == 200
            return [*found, again.text]

    first, second = asyncio.run(ask())
    assert second == first.replace("first:1", "second:2")
    assert "model" in first.lower()
