"""The command line of every benchmark: choose cases, measure, print the table, write it when it is whole."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from benchmarks.parts import commit
from benchmarks.table import Row, machine, markdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What one benchmark is called; `directory` is its package's, where `results.md` lies."""

    directory: Path
    title: str
    cases: Sequence[str]
    notes: Sequence[str]

    @property
    def command(self) -> str:
        """How it is started."""
        return f"python -m benchmarks.{self.directory.name}"

    def parser(self) -> argparse.ArgumentParser:
        """The options that all benchmarks have."""
        parser = argparse.ArgumentParser(
            prog=self.command, description="Measure, print the table, and write it when all was measured."
        )
        parser.add_argument(
            "--quick", action="store_true", help="small and short, nothing written: a smoke test"
        )
        parser.add_argument(
            "--only", action="append", choices=list(self.cases), help="this case, nothing written; repeatable"
        )
        return parser

    def tell(
        self, rows: Sequence[Row], arguments: argparse.Namespace, *, whole: bool, notes: Sequence[str] = ()
    ) -> int:
        """Print the table, and write it when `whole`; 1 when a limit of a full measurement is not reached."""
        text = markdown(rows, title=self.title, head=self._head(), notes=(*self.notes, *notes))
        print(text)
        if whole:
            (self.directory / "results.md").write_text(text, encoding="utf-8")
        return int(not arguments.quick and any(row.reached is False for row in rows))

    def _head(self) -> str:
        command = " ".join([self.command, *sys.argv[1:]])
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        return (
            f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, `{command}`, {machine()}. "
            f"{time.clock_gettime(time.CLOCK_MONOTONIC) / 60 - _BEGUN_MIN:.0f} minutes; "
            f"load averages at the end: {load}."
        )


_BEGUN_MIN = time.clock_gettime(time.CLOCK_MONOTONIC) / 60


def measured(chosen: Iterable[str], case: Callable[[str], list[Row]]) -> list[Row]:
    """The rows of these cases, each told on stderr as soon as it is there."""
    rows: list[Row] = []
    for name in chosen:
        started = time.monotonic()
        found = case(name)
        for row in found:
            print(f"{name}: {row.what}: {row.ours} | {row.peer} | {row.found}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        rows += found
    return rows


def leave_at_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that servers, containers and images go with the benchmark."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
