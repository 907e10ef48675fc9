"""A batch job as a process of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from runbake.batch import Needs
from runbake.errors import ConfigError
from runbake.runtime import run_batch_here

NEEDS = Needs(arguments=("--input", "rows.csv"), mounts=(), output="", target="", remote=False)
TELL = """
import os, sys
print("on the way", file=sys.stderr)
print(sorted(os.environ), os.getcwd(), sys.argv[1:])
sys.exit(73)
"""


def test_it_gets_what_it_is_given_and_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, last words and what was said meanwhile come back; of our environment nothing goes there."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    said: list[str] = []
    command = [sys.executable, "-S", "-c", TELL]
    status, out = run_batch_here(command, {"LANG": "C.UTF-8"}, NEEDS, said.append, scratch=tmp_path)

    assert (status, said) == (73, ["on the way\n"])
    arguments = ["batch", "--input", "rows.csv", "--scratch", str(tmp_path)]
    assert out == f"{['HOME', 'LANG', 'TMPDIR']} {os.path.realpath(tmp_path)} {arguments}\n"


def test_it_ends_with_us(tmp_path: Path) -> None:
    """What interrupts us reaches it as SIGTERM, and it is waited for."""
    script = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('told').touch(), sys.exit(75)))\n"
        "print('ready', file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch_here([sys.executable, "-S", "-c", script], {}, NEEDS, interrupt, scratch=tmp_path)
    assert (tmp_path / "told").exists()


def test_what_does_not_start_is_said(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ConfigError, match="/nowhere/python cannot be started"):
        run_batch_here(["/nowhere/python"], {}, NEEDS, print, scratch=tmp_path)
