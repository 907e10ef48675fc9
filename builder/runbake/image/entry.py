"""One file of a layer, before it is packed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A regular file, or a symbolic link when `link_target` is set.

    `path` is POSIX, relative to the image's root, without "." or ".." parts. `content` is the bytes
    themselves or a file on disk of exactly `size_bytes`. Owner and times are not here: every entry gets the
    same (see `layer`).
    """

    path: str
    content: bytes | Path
    size_bytes: int
    executable: bool = False
    link_target: str = ""

    @classmethod
    def of_bytes(cls, path: str, data: bytes, *, executable: bool = False) -> FileEntry:
        """An entry whose content is held in memory."""
        return cls(path=path, content=data, size_bytes=len(data), executable=executable)
