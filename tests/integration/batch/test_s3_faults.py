"""S3 that is busy, breaks off, or refuses: moto's server behind a proxy that does so on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.integration.batch.conftest import Batch
from tests.integration.batch.test_s3 import CREDENTIALS, FRAME

ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>as asked</Message></Error>'


class Faulty(ThreadingHTTPServer):
    """Forwards to `target`; `fault` says what becomes of a request instead, "" for nothing."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target, self.faults, self.lock = target, list[str](), threading.Lock()
        self.met = list[str]()

    def fault(self, method: str, path: str) -> str:
        """The next fault, if it is for such a request."""
        with self.lock:
            for position, fault in enumerate(self.faults):
                wanted, _, what = fault.partition(" ")
                if wanted == method and "a.csv" in path:
                    self.met.append(self.faults.pop(position))
                    return what
            return ""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Faulty
    protocol_version = "HTTP/1.1"

    def forward(self) -> None:
        """Answer as S3 does, or as asked."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.server.fault(self.command, self.path)
        if fault in ("SlowDown", "AccessDenied"):
            text = ERROR.format(code=fault).encode() if self.command != "HEAD" else b""
            self.answer(503 if fault == "SlowDown" else 403, {"Content-Type": "application/xml"}, text)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        found = requests.request(
            self.command, self.server.target + self.path, headers=headers, data=body, timeout=30
        )
        kept = {
            name: found.headers[name]
            for name in ("ETag", "Content-Type", "Content-Range")
            if name in found.headers
        }
        if self.command == "HEAD":
            kept["Content-Length"] = found.headers["Content-Length"]
        self.answer(found.status_code, kept, found.content, cut=fault == "cut")

    def answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        """Send it; half of the body only where it is to be cut."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    do_GET = do_HEAD = do_PUT = do_POST = forward

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(target: str) -> Iterator[Faulty]:
    """The proxy under way."""
    server = Faulty(target)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of moto's server, with one csv."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    requests.put(f"{address}/faults", timeout=30).raise_for_status()
    body = FRAME.to_csv(index=False).encode()
    requests.put(f"{address}/faults/in/a.csv", data=body, timeout=30).raise_for_status()
    yield address
    server.stop()


def scored(iris: Batch, proxy: Faulty, output: str) -> Any:
    """A job from the proxied bucket to this machine."""
    endpoint = f"http://127.0.0.1:{proxy.server_address[1]}"
    job = ("--input", "s3://faults/in/a.csv", "--output", output, "--output-format", "csv")
    return iris.run(*job, **CREDENTIALS, AWS_ENDPOINT_URL=endpoint)


def test_what_is_busy_or_breaks_off_is_asked_again(iris: Batch, bucket: str, tmp_path: Any) -> None:
    """Two refusals for load and two bodies cut in their middle cost nothing but time."""
    with serving(bucket) as proxy:
        proxy.faults = ["HEAD SlowDown", "GET SlowDown", "GET cut", "GET cut"]
        done = scored(iris, proxy, f"{tmp_path}/out")
        assert len(proxy.met) == 4

    assert done.status == 0, done.stderr
    assert len((tmp_path / "out" / "part-00000.csv").read_text().splitlines()) == len(FRAME) + 1


def test_what_always_breaks_off_is_worth_a_retry(iris: Batch, bucket: str, tmp_path: Any) -> None:
    """75, and the same command continues."""
    with serving(bucket) as proxy:
        proxy.faults = ["GET cut"] * 40
        done = scored(iris, proxy, f"{tmp_path}/out")
        assert done.status == 75, done.stderr
        assert "error: s3://faults/in/a.csv: S3 " in done.stderr
        proxy.faults = []
        assert scored(iris, proxy, f"{tmp_path}/out").status == 0


def test_what_is_not_allowed_is_no_retry(iris: Batch, bucket: str, tmp_path: Any) -> None:
    """74, with AWS's own word."""
    with serving(bucket) as proxy:
        proxy.faults = ["GET AccessDenied"]
        done = scored(iris, proxy, f"{tmp_path}/out")

    assert (done.status, "S3 refuses: AccessDenied" in done.stderr) == (74, True), done.stderr
