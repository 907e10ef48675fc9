"""A signal that Python only noted, because the main thread was about to block, still ends the command."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import signal, socket, threading, time
from runbake.cli.ending import Terminated, heed_signals

heed_signals()
here, there = socket.socketpair()
here.settimeout(40)

def note():
    time.sleep(0.3)
    # Received by this thread: the read of the main thread is not interrupted.
    signal.pthread_kill(threading.get_ident(), signal.{name})
    time.sleep(60)

threading.Thread(target=note, daemon=True).start()
begun = time.monotonic()
try:
    here.recv(1)
except (Terminated, KeyboardInterrupt) as end:
    print(type(end).__name__, time.monotonic() - begun < 20)
"""


@pytest.mark.parametrize(("name", "end"), [("SIGTERM", "Terminated"), ("SIGINT", "KeyboardInterrupt")])
def test_a_noted_signal_ends_a_blocked_read(name: str, end: str) -> None:
    """It does not wait for the read's own end, which may be minutes away."""
    script = BLOCKED.format(name=name)
    if name == "SIGINT":
        # A shell that started the tests in the background had it ignored.
        script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + script
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=55, check=False
    )

    assert done.stdout.split() == [end, "True"], done.stderr


def test_a_read_goes_on_when_nothing_was_noted() -> None:
    """The alarm alone ends nothing: a slow answer arrives whole."""
    script = """
import socket, threading, time
from runbake.cli.ending import heed_signals

heed_signals()
here, there = socket.socketpair()
threading.Thread(target=lambda: (time.sleep(2.5), there.sendall(b"late"))).start()
print(here.recv(4).decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=55, check=False
    )
    assert done.stdout.strip() == "late", done.stderr


def test_the_alarm_is_off_when_python_ends() -> None:
    """It kills no process that has already forgotten its handlers: the exit status is the one meant."""
    script = """
import sys
from runbake.cli import ending

ending._HEED_S = 1e-5
ending.heed_signals()
sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 7, done.stderr


def test_an_interrupt_while_the_commands_are_imported() -> None:
    """Whoever presses Ctrl-C in the first second gets the documented status, and no traceback."""
    script = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from runbake.__main__ import main

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "runbake.cli.verify":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=55, check=False
    )

    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["error: interrupted", "try:   run the same command again"]
