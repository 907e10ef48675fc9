"""Figures as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; `reached` is None for a line that only informs."""

    what: str
    ours: str
    peer: str
    found: str
    limit: str
    reached: bool | None


def markdown(rows: Sequence[Row], *, title: str, head: str, notes: Sequence[str]) -> str:
    """The table under its head, then the notes."""
    lines = [
        f"# {title}",
        "",
        head,
        "",
        "| figure | runbake | beside it | found | limit | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.what} | {row.ours} | {row.peer} | {row.found} | {row.limit} | {_verdict(row.reached)} |"
            for row in rows
        ),
        "",
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines) + "\n"


def _verdict(reached: bool | None) -> str:
    return {True: "reached", False: "**not reached**", None: ""}[reached]


def machine() -> str:
    """Its size, without its name."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} cores, {pages / (1 << 30):.0f} GiB of memory, {platform.machine()}, {_system()}"


def _system() -> str:
    release = Path("/etc/os-release")
    if not release.is_file():
        return platform.system()
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def megabytes(size_bytes: float) -> str:
    """MB of a million bytes, as the limits are given."""
    return f"{size_bytes / 1e6:.1f} MB"
