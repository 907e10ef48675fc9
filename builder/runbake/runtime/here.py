"""The runtime's `batch` as a process of this machine, in an environment of its own; gone at the end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runbake.batch import Needs
from runbake.errors import ConfigError

_GRACE_S = 30.0


def run_batch_here(
    command: Sequence[str],
    environment: Mapping[str, str],
    needs: Needs,
    tell: Callable[[str], None],
    *,
    scratch: Path,
) -> tuple[int, str]:
    """Do a job with this runtime: the exit status of its `batch`, and what it printed.

    It gets this environment and no variable beside, and the empty directory `scratch` as its home, for its
    temporary files and to start in; `tell` gets what it says meanwhile. What ends us ends it.

    Raises:
        ConfigError: it cannot be started.
    """
    clean = {**environment, "HOME": str(scratch), "TMPDIR": str(scratch)}
    try:
        process = subprocess.Popen(
            [*command, "batch", *needs.arguments, "--scratch", str(scratch)],
            env=clean,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C reaches it from here, once: as SIGTERM, after which what is committed stays.
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be started: {error.strerror}") from error
    with process:
        try:
            assert process.stderr is not None and process.stdout is not None  # noqa: PT018, S101 -- pipes
            for line in process.stderr:
                tell(line)
            # One line, which fits into the pipe.
            return process.wait(), process.stdout.read()
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
