"""The metadata service of one machine, as EC2 has it: by session token only."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REGION = "eu-central-1"
INSTANCE = "i-0123456789abcdef0"
KEYS = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret", "Token": "t", "Code": "Success"}


@contextmanager
def metadata(user_data: str | None, instance: str = INSTANCE) -> Iterator[str]:
    """Its URL; `user_data` None is a machine that was started without any."""
    token = secrets.token_hex(8)
    said = {
        "meta-data/placement/region": REGION,
        "meta-data/instance-id": instance,
        "meta-data/iam/security-credentials/": "batch",
        "meta-data/iam/security-credentials/batch": json.dumps(
            {**KEYS, "Expiration": "2036-01-01T00:00:00Z"}
        ),
        **({"user-data": user_data} if user_data is not None else {}),
    }

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._say(200, token)

        def do_GET(self) -> None:
            if self.headers["X-aws-ec2-metadata-token"] != token:
                self._say(401, "")
                return
            found = said.get(self.path.removeprefix("/latest/"))
            self._say(404 if found is None else 200, found or "")

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
