"""Background processes that outlive the command that started them, and are never mistaken for another one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError

_POLL_S = 0.1
_LOG_TAIL_BYTES = 4000


def identity_of(pid: int) -> str | None:
    """What tells this process from a later one with the same number: its start; None when it is gone.

    A zombie counts as gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _identity_by_ps(pid)
    # The command name, in brackets, may hold spaces; after it come state (0) and start time (19) [proc(5)].
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{fields[19]}"


def _identity_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if not answer or answer[0].startswith("Z") else answer[1].strip()


def start_in_background(command: Sequence[str], *, log: Path, cwd: Path | None = None) -> int:
    """Start `command` in a session of its own, its output appended to `log`; the process id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # It is meant to outlive us: Popen must not warn about that when it is collected.
    process.returncode = 0
    return process.pid


def wait_until(ready: Callable[[], bool], *, pid: int, log: Path, what: str, deadline_s: float) -> None:
    """Return when `ready()`; the process must live until then.

    Raises:
        LabError: the process ended, or the deadline passed; the message ends with its log.
    """
    identity = identity_of(pid)
    give_up_at = time.monotonic() + deadline_s
    while not ready():
        if identity is None or identity_of(pid) != identity:
            raise LabError(f"{what} ended at once:\n{tail_of(log)}")
        if time.monotonic() > give_up_at:
            raise LabError(f"{what} is not ready after {deadline_s:g} s:\n{tail_of(log)}")
        time.sleep(_POLL_S)


def stop_process(pid: int, identity: str, *, deadline_s: float) -> None:
    """End the process if it is still the one with this identity: SIGTERM, at the deadline SIGKILL."""
    give_up_at = time.monotonic() + deadline_s
    sent: signal.Signals | None = None
    while identity_of(pid) == identity:
        wanted = signal.SIGTERM if time.monotonic() < give_up_at else signal.SIGKILL
        if wanted is not sent:
            with suppress(ProcessLookupError):
                os.kill(pid, wanted)
            sent = wanted
        _reap(pid)
        time.sleep(_POLL_S / 2)


def _reap(pid: int) -> None:
    """Collect the process when it is our child, so that it does not stay a zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def tail_of(log: Path) -> str:
    """The last 4 kB of a log that may not exist."""
    with suppress(OSError):
        return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    return "(no log)"
