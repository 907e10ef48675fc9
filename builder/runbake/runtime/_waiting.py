"""Runs inside a container, sent to its interpreter as text: asks this very server whether it is ready.

The port may be shared with the server that is to be replaced; the Unix socket is this one's alone.
"""

import http.client
import os
import socket
import sys
import time

give_up_at = time.monotonic() + float(os.environ["READY_WITHIN_S"])
while time.monotonic() < give_up_at:
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(5)
            caller.connect(os.environ["READY_SOCKET"])
            caller.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = http.client.HTTPResponse(caller)
            answer.begin()
            if answer.status == 200:
                sys.exit(0)
    except (OSError, http.client.HTTPException):
        pass  # not listening yet; the deadline ends this
    time.sleep(0.05)
sys.exit(1)
