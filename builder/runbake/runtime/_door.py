"""Runs as a container of its own: holds a network namespace, and with it a published port, open.

It does nothing but wait. Told to end, it first lets the connections of those who serve in its namespace end.
"""

import os
import pathlib
import signal
import time

STOPPING = {signal.SIGTERM, signal.SIGINT}
ESTABLISHED, LISTEN = "01", "0A"


def in_use() -> bool:
    port = f":{int(os.environ['DOOR_PORT']):04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if local.endswith(port) and state in (ESTABLISHED, LISTEN):
                return True
    return False


signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
signal.sigwait(STOPPING)
give_up_at = time.monotonic() + float(os.environ["DOOR_GRACE_S"])
while in_use() and time.monotonic() < give_up_at:
    time.sleep(0.05)
