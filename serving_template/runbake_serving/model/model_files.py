"""Whether the model's files are those that the label file names, byte for byte.

Hashed in threads while the libraries are imported, so that a start is not longer by it; nothing of the model
is loaded before every file was found right. Standard library only, for the same reason.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbake_serving.errors import StartError

_NAMED = 5
"""Files that one error names at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of the model as the label file has it; `path` is relative to the model's directory."""

    path: str
    size_bytes: int
    sha256: str


def files_of(document: Mapping[str, Any]) -> tuple[ModelFile, ...] | None:
    """The files that a label file names; None where it names none, as one written by hand.

    Raises:
        StartError: they are not named as runbake names them.
    """
    model = document.get("model")
    files = model.get("files") if isinstance(model, dict) else None
    if files is None:
        return None
    try:
        return tuple(
            ModelFile(path=str(file["path"]), size_bytes=int(file["size"]), sha256=str(file["sha256"]))
            for file in files
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StartError("the label file does not tell the model's files as runbake does") from error


class FileCheck:
    """A check under way; `wait` tells how it ended."""

    def __init__(self, root: Path, files: Sequence[ModelFile], *, threads: int) -> None:
        self._root, self._faults = root, list[str]()
        self._waiting: queue.SimpleQueue[ModelFile] = queue.SimpleQueue()
        self._faults += _extra(root, {file.path for file in files})
        for file in sorted(files, key=lambda file: -file.size_bytes):
            self._waiting.put(file)
        # Daemons: a SIGTERM meanwhile does not wait for a large file.
        self._threads = [
            threading.Thread(target=self._work, name="check", daemon=True)
            for _ in range(max(1, min(threads, len(files))))
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Return when every file was found right.

        Raises:
            StartError: files are changed, missing, or not named in the label file; the message names them.
        """
        for thread in self._threads:
            thread.join()
        if self._faults:
            named = sorted(self._faults)[:_NAMED]
            more = len(self._faults) - len(named)
            raise StartError(
                f"the model is not the one in the label file: {'; '.join(named)}"
                + (f"; and {more} more" if more else ""),
                hint="the image was changed after it was built: pull it again by its digest",
            )

    def _work(self) -> None:
        while True:
            try:
                file = self._waiting.get_nowait()
            except queue.Empty:
                return
            if fault := _fault(self._root / file.path, file):
                self._faults.append(fault)


def _extra(root: Path, known: set[str]) -> list[str]:
    found = []
    for folder, _, names in os.walk(root):
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return [f"{name!r} is not named there" for name in found if Path(name).as_posix() not in known]


def _fault(path: Path, file: ModelFile) -> str | None:
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return f"{file.path!r} has {size_bytes} bytes instead of {file.size_bytes}"
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{file.path!r} is missing"
    except (OSError, ValueError) as error:
        return f"{file.path!r} cannot be read ({type(error).__name__})"
    return None if digest == file.sha256 else f"{file.path!r} has other bytes"
