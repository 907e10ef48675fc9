"""How far the job is: a line that renews itself on a terminal, a line a minute elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

_PIPED_S = 60.0
_TERMINAL_S = 0.5


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counts rows and parts, and tells them.

    Attributes:
        rows: of this run, when the job knows them; None where only parts can be counted.
        now_s: a clock that does not jump.
    """

    stream: TextIO
    parts: int
    rows: int | None
    now_s: Callable[[], float]
    done_rows: int = 0
    done_parts: int = 0
    rejected: int = 0
    _begun_s: float = -1.0
    _told_s: float = -1.0

    def begin(self) -> None:
        """Start the clock."""
        self._begun_s = self._told_s = self.now_s()

    def add(self, rows: int) -> None:
        """So many more rows are through."""
        self.done_rows += rows

    def part(self, rejected: int) -> None:
        """One more part is committed."""
        self.done_parts += 1
        self.rejected += rejected

    def tick(self) -> None:
        """Tell, if it is time."""
        every_s = _TERMINAL_S if self.stream.isatty() else _PIPED_S
        now_s = self.now_s()
        if now_s - self._told_s >= every_s:
            self._told_s = now_s
            start, end = ("\r\x1b[K", "") if self.stream.isatty() else ("", "\n")
            self.stream.write(f"{start}{self.line()}{end}")
            self.stream.flush()

    def end(self) -> None:
        """Tell the last line."""
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")
        self.stream.write(self.line() + "\n")
        self.stream.flush()

    def line(self) -> str:
        """As it stands."""
        seconds = max(self.now_s() - self._begun_s, 1e-9)
        words = [
            f"{self.done_rows:,} rows",
            f"part {self.done_parts} of {self.parts}",
            f"{self.done_rows / seconds:,.0f} rows/s",
        ]
        if self.rejected:
            words.append(f"{self.rejected:,} rejected")
        if (left_s := self._left_s(seconds)) is not None:
            words.append(f"{duration_of(left_s)} left")
        return "  batch   " + ", ".join(words)

    def _left_s(self, seconds: float) -> float | None:
        share = (
            self.done_rows / self.rows if self.rows else self.done_parts / self.parts if self.parts else 1.0
        )
        return seconds * (1 - share) / share if 0 < share < 1 else None


def duration_of(seconds: float) -> str:
    """`1 h 02 min`, `3 min`, `45 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"
