"""File systems in memory that are as small as a test wants."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk_of(target: Path, size: str) -> Iterator[Path]:
    """A file system of this size ("40m") at `target`, gone afterwards with all that is in it."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "runbake-test", str(target)], check=True)
    try:
        yield target
    finally:
        # A process that is still ending may hold a file there.
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def grow(target: Path, size: str) -> None:
    """Give the file system at `target` another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(target)], check=True)
