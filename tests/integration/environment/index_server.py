"""A package index on the loopback address that has no upload times, or refuses."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path


class _Handler(http.server.BaseHTTPRequestHandler):
    status = 200
    wheelhouse = Path()

    def do_GET(self) -> None:
        """A page of links, a wheel, or the status that the server was started with."""
        status, body = self.status, b""
        if status == 200:
            status, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _answer(self) -> tuple[int, bytes]:
        last = self.path.rstrip("/").rsplit("/", 1)[-1]
        if last.endswith(".whl"):
            return 200, (self.wheelhouse / last).read_bytes()
        links = [
            f'<a href="/files/{file.name}#sha256={sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'
            for file in self.wheelhouse.glob(f"{last.replace('-', '_')}-*.whl")
        ]
        return (200 if links else 404), "".join(links).encode()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the test's output."""


@contextmanager
def running_index(wheelhouse: Path, status: int = 200) -> Iterator[str]:
    """`127.0.0.1:PORT/simple` of an index of these wheels; a `status` other than 200 is its only answer."""
    handler = type("Handler", (_Handler,), {"status": status, "wheelhouse": wheelhouse})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()
