"""Files that the user named: written whole or not at all, and never in place of a device.

A regular file appears under its name by a rename, so no reader sees half of it. A fifo or a character device
is written into: a rename would destroy it, and root can do that to /dev/null.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from runbake.errors import ConfigError

_STREAMS = (stat.S_IFIFO, stat.S_IFCHR)
_LONGEST_NAME = 40
_REFUSED = {stat.S_IFDIR: "a directory", stat.S_IFBLK: "a block device", stat.S_IFSOCK: "a socket"}


def is_stream(path: Path) -> bool:
    """Whether `path` is written into, and not replaced: a fifo, a character device, or an open descriptor.

    Raises:
        ConfigError: nothing can be written there: it is a directory, a block device or a socket.
        OSError: it cannot be looked at.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return False
    if kind in _REFUSED:
        raise ConfigError(f"{path} is {_REFUSED[kind]}", hint="name a file")
    return kind in _STREAMS or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Whether the name leads to a descriptor, as /dev/stdout does: renaming would cut its other users off."""
    while path.is_symlink():
        directory = path.parent.resolve()
        if directory.name == "fd" and directory.parts[1:2] in (("proc",), ("dev",)):
            return True
        path = directory / path.readlink()
    return False


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write: it has the name `path` once the block ends well, and leaves nothing if it does not.

    The target of a symbolic link is replaced, not the link. Directories that are missing are made.

    Raises:
        ConfigError: as `is_stream` does.
        OSError: it cannot be written.
    """
    if is_stream(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
            yield stream
        return
    with beside(path) as partial, partial.open("wb") as out:
        yield out


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file beside `path`, to write; it is renamed to `path` when the block ends well, else removed."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = name_beside(target)
    # In a directory that others may write to, nobody can have put a file or a link there for us to fill.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def name_beside(target: Path) -> Path:
    """A hidden name in the same directory that nobody can guess; file systems limit names, so it is cut."""
    return target.with_name(f".{target.name[:_LONGEST_NAME]}.{secrets.token_hex(8)}")


@contextmanager
def directory_beside(path: Path) -> Iterator[Path]:
    """A new directory beside `path`, to fill; it is renamed to `path` when the block ends well, else removed.

    Raises:
        OSError: something is there by then, other than an empty directory.
    """
    target = path.resolve()
    partial = name_beside(target)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def forget(path: Path) -> None:
    """Remove an earlier regular file; a link that led to it stays, and a stream has nothing to remove.

    Raises:
        ConfigError: as `is_stream` does.
        OSError: it cannot be removed.
    """
    if not is_stream(path):
        path.resolve().unlink(missing_ok=True)
