"""The server on real sockets: HTTP/1.1 is answered, slow ones are ended, a drain loses nobody."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbake_serving.http.connection import Connection, Patience
from runbake_serving.http.refusals import raw_refusal
from runbake_serving.http.server import Server

DEADLINE_S = 30.0
PATIENT = Patience(slow_s=20, idle_s=20, grace_s=20, connections=100)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers method, path, and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    answer = f"{scope['method']} {scope['path']} ".encode() + body
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@dataclass(slots=True)
class Serving:
    """A server in this event loop."""

    server: Server
    address: Any
    stop: asyncio.Event
    done: asyncio.Task[bool]
    writers: list[asyncio.StreamWriter]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection."""
        if isinstance(self.address, str):
            reader, writer = await asyncio.open_unix_connection(self.address)
        else:
            reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        return reader, writer

    async def said(self, data: bytes) -> bytes:
        """Everything that is answered to these bytes, until the server ends the connection."""
        reader, writer = await self.open()
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), DEADLINE_S)
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    app: Callable[[Any, Any, Any], Awaitable[None]], patience: Patience = PATIENT, path: Path | None = None
) -> AsyncIterator[Serving]:
    """A server around an application; stopped in the end."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    server, stop = Server(app, [listener], patience, raw_refusal), asyncio.Event()
    address = listener.getsockname()
    task = asyncio.create_task(server.serve_until(stop))
    await asyncio.sleep(0)
    one = Serving(server, address, stop, task, [])
    try:
        yield one
    finally:
        stop.set()
        for writer in one.writers:
            writer.close()
        await asyncio.wait_for(task, DEADLINE_S)


def bodies(answers: bytes) -> list[bytes]:
    """The bodies of answers that tell their length."""
    found = []
    while answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length, head
        found.append(rest[: int(length[1])])
        answers = rest[int(length[1]) :]
    return found


LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
EXPECT = b"Expect: 100-continue\r\nContent-Length: 2\r\n"
POST = b"POST /a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
UPGRADE = (
    b"POST /h2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 3\r\n\r\nabc"
)


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_requests_one_after_the_other(piece: int) -> None:
    """Pipelined requests, bodies of either framing and an offer of HTTP/2 are answered in order."""

    async def ask() -> bytes:
        async with serving(echo) as one:
            reader, writer = await one.open()
            data = POST + CHUNKED + UPGRADE + LAST
            for start in range(0, len(data), piece):
                writer.write(data[start : start + piece])
                await asyncio.sleep(0)
            return await asyncio.wait_for(reader.read(), DEADLINE_S)

    assert bodies(asyncio.run(ask())) == [b"POST /a b abc", b"POST /c abc", b"POST /h2 abc", b"GET /last "]


def test_a_large_body_both_ways() -> None:
    """A body larger than every buffer arrives whole, and its answer too."""
    body = b"x" * 5_000_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def ask() -> bytes:
        async with serving(echo) as one:
            return await one.said(head + body)

    assert bodies(asyncio.run(ask())) == [b"POST / " + body]


def test_old_and_bare_requests() -> None:
    """HTTP/1.0 ends with its answer; HEAD has no body; 100-continue is told."""

    async def ask() -> list[bytes]:
        async with serving(echo) as one:
            expects = LAST.replace(b"GET", b"POST").replace(
                b"Host", b"Expect: 100-continue\r\nContent-Length: 2\r\nHost"
            )
            reader, writer = await one.open()
            writer.write(expects)
            told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
            writer.write(b"ok")
            rest = await asyncio.wait_for(reader.read(), DEADLINE_S)
            head = await one.said(b"HEAD /h HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return [await one.said(b"GET /1 HTTP/1.0\r\n\r\n"), told, rest, head]

    old, told, rest, head = asyncio.run(ask())
    assert bodies(old) == [b"GET /1 "]
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert bodies(rest) == [b"POST /last ok"]
    assert (head.count(b"content-length: 8"), head.endswith(b"\r\n\r\n")) == (1, True)


def test_streamed_answers() -> None:
    """The parts of a chunked answer are sent as they come."""

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await arrived.wait()
        await send({"type": "http.response.body", "body": b"c"})

    arrived = asyncio.Event()

    async def ask() -> bytes:
        async with serving(stream) as one:
            reader, writer = await one.open()
            writer.write(LAST)
            first = await asyncio.wait_for(reader.readuntil(b"ab\r\n"), DEADLINE_S)
            arrived.set()
            return first + await asyncio.wait_for(reader.read(), DEADLINE_S)

    assert asyncio.run(ask()).endswith(b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"431"),
        (b"GET /" + b"x" * 100_000, b"431"),
    ],
)
def test_what_is_not_http(data: bytes, status: bytes) -> None:
    """Unreadable and oversized heads, and ambiguous lengths, are refused in our form; the connection ends."""

    async def ask() -> bytes:
        async with serving(echo) as one:
            return await one.said(data)

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"application/problem+json" in answer


TRAILED = b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"


def test_trailers_are_no_headers() -> None:
    """What follows the last chunk is passed over, and is refused where it does not end."""
    seen: list[Any] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        seen.extend(name for name, _ in scope["headers"])

    async def ask() -> list[bytes]:
        async with serving(look) as one:
            first = await one.said(TRAILED + b"Content-Encoding: gzip\r\n\r\n" + LAST)
            return [first, await one.said(TRAILED + b"X: y\r\n" * 100_000)]

    first, flood = asyncio.run(ask())
    assert bodies(first)[0] == b"POST /t ok"
    assert b"content-encoding" not in seen
    assert b"HTTP/1.1 431 " in flood


def test_a_body_is_not_counted_as_the_head_that_follows_it() -> None:
    """A request that begins in the packet in which a large body ends is answered."""
    body = b"x" * 200_000

    async def ask() -> bytes:
        async with serving(echo) as one:
            reader, writer = await one.open()
            writer.write(
                b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body + LAST[:5]
            )
            await asyncio.wait_for(reader.readuntil(b"xx"), DEADLINE_S)
            writer.write(LAST[5:])
            return await asyncio.wait_for(reader.read(), DEADLINE_S)

    assert asyncio.run(ask()).count(b"HTTP/1.1 200") == 1


def test_a_flood_of_pipelined_requests() -> None:
    """A hundred wait for the first; the last of them says that the connection ends, and no more are held."""
    held: list[int] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        held.append(sum(len(one.pipeline) for one in connections()))
        await echo(scope, receive, send)

    async def ask() -> bytes:
        async with serving(slow) as one:
            connections_of.append(one.server)
            return await one.said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)

    connections_of: list[Server] = []

    def connections() -> list[Any]:
        return [one for server in connections_of for one in server.server_state.connections]

    said = asyncio.run(ask())
    assert bodies(said) == [b"GET / "] * 101
    assert said.count(b"connection: close") == 1
    assert max(held) == 100


def test_a_slow_answer_before_garbage_is_waited_for() -> None:
    """A request that takes longer than we linger after a refusal is answered all the same."""
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await go.wait()
        await echo(scope, receive, send)

    async def ask() -> bytes:
        async with serving(slow) as one:
            reader, writer = await one.open()
            writer.write(POST + b"garbage\r\n\r\n")
            await entered.wait()
            for connection in one.server.server_state.connections:
                assert isinstance(connection, Connection)
                connection.overdue(asyncio.get_running_loop().time() + 10)
            go.set()
            return await asyncio.wait_for(reader.read(), DEADLINE_S)

    assert bodies(asyncio.run(ask())) == [b"POST /a b abc"]


def test_an_offered_protocol_with_an_unreadable_body_is_refused() -> None:
    """A framing that nobody knows is answered 400 also where it comes with an Upgrade."""
    head = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: y\r\n\r\n"
    )

    async def ask() -> bytes:
        async with serving(echo) as one:
            return await one.said(head)

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 400 ")


def test_a_good_request_before_a_bad_one_is_answered() -> None:
    """What was asked before the garbage has its answer, and then the connection ends."""

    async def ask() -> bytes:
        async with serving(echo) as one:
            return await one.said(POST + b"garbage\r\n\r\n")

    assert bodies(asyncio.run(ask()))[0] == b"POST /a b abc"


def test_headers_cannot_be_split() -> None:
    """An application that lets a line's end into a header sends nothing of it."""

    async def splits(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x", b"a\r\nSet-Cookie: b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> bytes:
        async with serving(splits) as one:
            with suppress(ConnectionResetError):
                return await one.said(LAST)
        return b""

    assert asyncio.run(ask()) == b""


def test_early_answers_reach_a_caller_that_still_sends() -> None:
    """An answer that does not wait for the body arrives, and ends the connection."""

    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    async def ask() -> bytes:
        async with serving(refuses) as one:
            reader, writer = await one.open()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
            for _ in range(20):
                writer.write(b"x" * 100_000)
                await asyncio.sleep(0)
            return await asyncio.wait_for(reader.read(), DEADLINE_S)

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"\r\nno")


# --- slow callers --------------------------------------------------------------------------------------

HASTY = Patience(slow_s=0.2, idle_s=0.2, grace_s=20, connections=3)


@pytest.mark.parametrize(
    ("data", "answer"),
    [(b"", b""), (b"GET / HTTP/1.1\r\nHo", b"HTTP/1.1 408"), (POST, b"HTTP/1.1 200")],
    ids=["silent", "half a head", "idle"],
)
def test_slow_callers_are_ended(data: bytes, answer: bytes) -> None:
    """A caller that sends nothing, half a head, or nothing more is ended; half a head is told why."""

    async def ask() -> bytes:
        async with serving(echo, HASTY) as one:
            return await one.said(data)

    assert asyncio.run(ask()).startswith(answer)


def test_a_caller_that_does_not_read_is_ended() -> None:
    """A caller that takes nothing of a large answer does not hold it in memory for ever."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 50_000_000})

    async def ask() -> None:
        async with serving(large, HASTY) as one:
            reader, writer = await one.open()
            reader._transport.pause_reading()  # type: ignore[attr-defined]  # a StreamReader cannot be asked to
            writer.write(LAST)
            async with asyncio.timeout(DEADLINE_S):
                while not one.server.connections:
                    await asyncio.sleep(0.01)
                while one.server.connections:
                    await asyncio.sleep(0.01)
            writer.transport.abort()

    asyncio.run(ask())


def test_too_many_connections() -> None:
    """A connection too many is answered 503 with Retry-After; the others stay, and there is room again."""

    async def ask() -> tuple[bytes, bytes]:
        patience = Patience(slow_s=20, idle_s=20, grace_s=20, connections=2)
        async with serving(echo, patience) as one:
            held = [await one.open() for _ in range(2)]
            for reader, writer in held:
                writer.write(POST)
                await reader.readuntil(b"abc")
            refused = await one.said(LAST)
            for _, writer in held:
                writer.close()
            async with asyncio.timeout(DEADLINE_S):
                while one.server.connections:
                    await asyncio.sleep(0.01)
            return refused, await one.said(LAST)

    refused, answered = asyncio.run(ask())
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in refused
    assert answered.startswith(b"HTTP/1.1 200")


# --- the end -------------------------------------------------------------------------------------------


def test_a_drain_answers_what_is_in_flight_and_once_more() -> None:
    """After `stop` a request in flight is answered, a kept connection has one more answer that says close."""
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            entered.set()
            await go.wait()
        await echo(scope, receive, send)

    async def ask() -> tuple[bytes, bytes, bool]:
        async with serving(slow) as one:
            kept_reader, kept = await one.open()
            kept.write(POST)
            await kept_reader.readuntil(b"abc")
            reader, writer = await one.open()
            writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await entered.wait()
            one.stop.set()
            while not one.server.draining:
                await asyncio.sleep(0)
            kept.write(POST)
            once_more = await asyncio.wait_for(kept_reader.read(), DEADLINE_S)
            go.set()
            return await asyncio.wait_for(reader.read(), DEADLINE_S), once_more, await one.done

    answer, once_more, complete = asyncio.run(ask())
    assert bodies(answer) == [b"GET /slow "]
    assert b"connection: close" in answer
    assert bodies(once_more) == [b"POST /a b abc"]
    assert b"connection: close" in once_more
    assert complete


def test_a_drain_leaves_an_answer_that_has_begun() -> None:
    """An answer whose head is out cannot say close: its connection has one more, which says it."""
    go = asyncio.Event()

    async def begun(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/last":
            return await echo(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await go.wait()
        return await send({"type": "http.response.body", "body": b"k"})

    async def ask() -> tuple[bytes, bytes]:
        async with serving(begun) as one:
            reader, writer = await one.open()
            writer.write(POST)
            first = await asyncio.wait_for(reader.readuntil(b"\r\no"), DEADLINE_S)
            one.stop.set()
            while not one.server.draining:
                await asyncio.sleep(0)
            go.set()
            first += await asyncio.wait_for(reader.readexactly(1), DEADLINE_S)
            writer.write(LAST.replace(b"Connection: close\r\n", b""))
            return first, await asyncio.wait_for(reader.read(), DEADLINE_S)

    first, last = asyncio.run(ask())
    assert (first.endswith(b"ok"), b"connection: close" in first) == (True, False)
    assert bodies(last) == [b"GET /last "]
    assert b"connection: close" in last


@pytest.mark.parametrize("unix", [False, True])
def test_a_drain_takes_what_waits_to_be_accepted(unix: bool, tmp_path: Path) -> None:
    """Callers that the kernel has let in before the end are answered, though nobody had accepted them."""

    async def ask() -> list[bytes]:
        async with serving(echo, path=tmp_path / "s" if unix else None) as one:
            callers = []
            for _ in range(50):
                caller = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
                caller.connect(one.address)  # blocking: the loop does not run, and accepts nobody
                caller.sendall(LAST)
                callers.append(caller)
            one.stop.set()
            await one.done
            answers = []
            for caller in callers:
                caller.settimeout(DEADLINE_S)
                answers.append(caller.recv(1000))
                caller.close()
            return answers

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in asyncio.run(ask()))


@pytest.mark.parametrize("unix", [False, True])
def test_nobody_comes_in_during_a_drain(unix: bool, tmp_path: Path) -> None:
    """While requests finish, a new caller is not let in: it is refused, or waits."""
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await go.wait()
        await echo(scope, receive, send)

    async def ask() -> None:
        async with serving(slow, path=tmp_path / "s" if unix else None) as one:
            _, writer = await one.open()
            writer.write(POST)
            await entered.wait()
            one.stop.set()
            while not one.server.draining:
                await asyncio.sleep(0)
            with pytest.raises((ConnectionRefusedError, TimeoutError)):
                await asyncio.wait_for(one.open(), 5)
            go.set()
            writer.close()

    asyncio.run(ask())


def test_a_drain_ends_with_the_grace_time() -> None:
    """A request that does not end is cancelled, and the result says that requests were cut off."""
    entered = asyncio.Event()

    async def never(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    async def ask() -> bool:
        async with serving(never, Patience(slow_s=20, idle_s=20, grace_s=0.2, connections=9)) as one:
            _, writer = await one.open()
            writer.write(LAST)
            await entered.wait()
            one.stop.set()
            complete = await asyncio.wait_for(one.done, DEADLINE_S)
            writer.close()
            return complete

    assert asyncio.run(ask()) is False


def test_no_request_is_lost_under_load() -> None:
    """Callers that ask as fast as they can, on kept and on new connections, lose nothing in 20 drains."""

    async def caller(one: Serving, begun: asyncio.Semaphore, *, keeps: bool) -> int:
        answered = 0
        while True:
            try:
                reader, writer = await one.open()
            except OSError:
                return answered  # nobody serves any more
            while True:
                writer.write(POST)
                head = await reader.readuntil(b"\r\n\r\n")  # an IncompleteReadError here is a lost request
                await reader.readexactly(13)
                answered += 1
                begun.release()
                if not keeps or b"connection: close" in head:
                    writer.close()
                    break

    async def ask() -> int:
        async with serving(echo) as one:
            begun = asyncio.Semaphore(0)
            callers = [asyncio.create_task(caller(one, begun, keeps=keeps)) for keeps in (True, False) * 8]
            for _ in range(50):
                await asyncio.wait_for(begun.acquire(), DEADLINE_S)
            one.stop.set()
            answered = sum(await asyncio.wait_for(asyncio.gather(*callers), DEADLINE_S))
            assert await one.done
            return answered

    async def at_once() -> list[int]:
        return await asyncio.gather(*(ask() for _ in range(5)))

    for _ in range(4):
        assert min(asyncio.run(at_once())) >= 50


def test_any_bytes_leave_the_server_well() -> None:
    """Good requests cut, repeated and mixed with noise at random end every connection and harm no other."""
    rng = random.Random(7)  # noqa: S311 -- the same noise each time
    pieces = [POST, CHUNKED, UPGRADE, LAST, EXPECT, b"\r\n", b"0\r\n\r\n", b"\x00\xff", b"GET ", b"a" * 500]

    def noise() -> bytes:
        data = b"".join(rng.choices(pieces, k=rng.randint(1, 5)))
        start, end = sorted(rng.choices(range(len(data) + 1), k=2))
        return rng.choice(
            (data, data[start:], data[:end], data[:start] + bytes([rng.randrange(256)]) + data[end:])
        )

    async def caller(one: Serving) -> None:
        reader, writer = await one.open()
        with suppress(ConnectionError):
            writer.write(noise())
            await writer.drain()
            writer.write_eof()
            await asyncio.wait_for(reader.read(), DEADLINE_S)
        writer.close()

    async def ask() -> tuple[bytes, int]:
        patience = Patience(slow_s=3, idle_s=3, grace_s=20, connections=1000)
        async with serving(echo, patience) as one:
            for _ in range(20):
                await asyncio.gather(*(caller(one) for _ in range(50)))
            last = await one.said(LAST)
            async with asyncio.timeout(DEADLINE_S):
                while one.server.connections:
                    await asyncio.sleep(0.01)
            return last, one.server.connections

    last, left = asyncio.run(ask())
    assert bodies(last) == [b"GET /last "]
    assert left == 0
