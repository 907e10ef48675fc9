"""`_tmp` in a local output: files that have no name yet, of every runner that is at work there."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

TEMPORARY = "_tmp"


class Scratch:
    """A folder that is held while somebody works in it, and cleared by who leaves it last.

    Holding it is a shared `flock`: forked workers inherit it, and the kernel lets it go with a killed runner,
    so that what a killed runner left is told from what another one is writing.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / TEMPORARY
        self._handle: int | None = None

    def held(self) -> Path:
        """The folder, made and held from now on.

        Raises:
            OSError: it cannot be made.
        """
        while self._handle is None:
            self._path.mkdir(parents=True, exist_ok=True)
            # Who left last may have removed it between the two: then it is made again.
            with suppress(FileNotFoundError):
                self._handle = self._taken()
        return self._path

    def left(self) -> None:
        """Let it go; the last one out removes it with what killed runners left."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            # Refused while another runner holds it, and on disks that cannot lock folders. Then it stays.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._clear()
        finally:
            os.close(handle)

    def _taken(self) -> int:
        handle = os.open(self._path, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_SH)
            if os.fstat(handle).st_ino != os.stat(self._path).st_ino:
                raise FileNotFoundError(self._path)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _clear(self) -> None:
        for file in self._path.iterdir():
            file.unlink(missing_ok=True)
        self._path.rmdir()
