"""Requests at a fixed rate, whatever becomes of the earlier ones: `python -m benchmarks.serving.open_loop`.

Arguments: port, requests a second, seconds, file of the body. Prints JSON: for each status the latencies in
seconds (from the moment the request was due), and how many got no answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

_PATIENCE_S = 90.0
_MOST_CONNECTIONS = 3_500


class Caller(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self, house: House) -> None:
        self._house, self._read = house, bytearray()
        self._due_s: float | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, due_s: float) -> None:
        """Send the request that was due at `due_s`."""
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(self._house.request)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found or self._due_s is None:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[16:]) for line in lines if line.startswith(b"content-length: "))
        if len(body) < length:
            return
        self._house.answered(int(lines[0].split()[1]), time.perf_counter() - self._due_s)
        self._due_s, self._read = None, bytearray()
        if b"connection: close" in lines:
            assert self._transport is not None
            self._transport.close()
        else:
            self._house.idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        """The server or we closed it."""
        self._house.connections -= 1
        if self in self._house.idle:
            self._house.idle.remove(self)
        if self._due_s is not None:
            self._house.lost("cut")


class House:
    """All connections, and what came of the requests."""

    def __init__(self, port: int, body: bytes) -> None:
        head = (
            f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.request, self.port = head.encode() + body, port
        self.idle: list[Caller] = []
        self.connections = self.outstanding = 0
        self.latencies: dict[int, list[float]] = {}
        self.broken: Counter[str] = Counter()

    def answered(self, status: int, seconds: float) -> None:
        """An answer came."""
        self.outstanding -= 1
        self.latencies.setdefault(status, []).append(seconds)

    def lost(self, why: str) -> None:
        """No answer will come."""
        self.outstanding -= 1
        self.broken[why] += 1

    async def ask(self, due_s: float) -> None:
        """Send one request, on a new connection if all others wait."""
        self.outstanding += 1
        if self.idle:
            self.idle.pop().ask(due_s)
            return
        if self.connections >= _MOST_CONNECTIONS:
            self.lost("no connection left")
            return
        self.connections += 1
        try:
            _, caller = await asyncio.get_running_loop().create_connection(
                lambda: Caller(self), "127.0.0.1", self.port
            )
        except OSError as error:
            self.connections -= 1
            self.lost(type(error).__name__)
        else:
            caller.ask(due_s)


async def run(port: int, rate: float, seconds: float, body: bytes) -> House:
    """Ask at the rate for so long, then wait for what is outstanding."""
    house, started, sent = House(port, body), time.perf_counter(), 0
    tasks: set[asyncio.Task[None]] = set()
    while (now_s := time.perf_counter() - started) < seconds:
        while sent < now_s * rate:
            due_s = started + sent / rate
            sent += 1
            if house.idle:
                await house.ask(due_s)
            else:
                task = asyncio.ensure_future(house.ask(due_s))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.002)
    give_up_at = time.perf_counter() + _PATIENCE_S
    while house.outstanding and time.perf_counter() < give_up_at:
        await asyncio.sleep(0.02)
    return house


def main() -> None:
    """Command line."""
    port, rate, seconds, body = sys.argv[1:]
    house = asyncio.run(run(int(port), float(rate), float(seconds), Path(body).read_bytes()))
    broken = {**house.broken, **({"never answered": house.outstanding} if house.outstanding else {})}
    print(json.dumps({"latencies": house.latencies, "broken": broken}))


if __name__ == "__main__":
    main()
