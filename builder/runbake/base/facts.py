"""What an unpacked base says about itself, found in its files; nothing of it is run."""

from __future__ import annotations

import mmap
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from runbake.base.base import PythonFacts
from runbake.errors import BaseImageError

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMES = ("python3", "python")
_ELF = b"\x7fELF"
_PYTHON_NAME = re.compile(r"python(3\.\d+)")
_LIBC_VERSION = re.compile(rb"(?:stable|development) release version (\d+\.\d+)")
LIBRARY_PATTERNS = (
    "lib/*-linux-gnu*",
    "usr/lib/*-linux-gnu*",
    "lib64",
    "usr/lib64",
    "lib",
    "usr/lib",
    "usr/local/lib",
)


def facts_of(root: Path, search_path: str, asked: str) -> PythonFacts:
    """The Python that `python3` means in this image, and what it stands on.

    `search_path` is PATH of the image's configuration, "" for the usual one.

    Raises:
        BaseImageError: no Python, a Python whose release cannot be told, or no glibc.
    """
    python = _python_in(root, search_path or DEFAULT_PATH, asked)
    os_release = _os_release(root)
    return PythonFacts(
        python_path="/" + str(python.relative_to(root.resolve())),
        python_version=_version_of(python, root, asked),
        glibc=_glibc_of(root, asked),
        os_id=os_release.get("ID", ""),
        os_version=os_release.get("VERSION_ID", ""),
    )


def library_directories(root: Path) -> tuple[Path, ...]:
    """Where the image keeps shared libraries, in the order its loader would look."""
    found: dict[Path, None] = {}
    for pattern in LIBRARY_PATTERNS:
        for directory in sorted(root.glob(pattern)):
            if directory.is_dir():
                found.setdefault(directory.resolve())
    return tuple(found)


def _python_in(root: Path, search_path: str, asked: str) -> Path:
    for directory in search_path.split(":"):
        for name in _NAMES:
            # Not Path.resolve(): a loop of links is no Python, and no traceback either.
            candidate = Path(os.path.realpath(root / directory.strip("/") / name))
            if candidate.is_file() and candidate.is_relative_to(root.resolve()) and _is_elf(candidate):
                return candidate
    raise BaseImageError(
        f"the base image {asked} has no Python on its PATH",
        hint="build a base with Python from it: Dockerfile.base takes any Debian-like image as an argument",
    )


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == _ELF


def _version_of(python: Path, root: Path, asked: str) -> str:
    """The exact release: a string constant of the interpreter, or of the libpython it loads."""
    minor = _PYTHON_NAME.fullmatch(python.name)
    number = re.escape(minor[1]) if minor else r"3\.\d+"
    pattern = re.compile(rb"\0(" + number.encode() + rb"\.\d+(?:(?:a|b|rc)\d+)?\+?)\0")
    for library in (python, *_libpythons(python, root)):
        versions = {match.decode() for match in _matches(library, pattern)}
        if len(versions) == 1:
            return versions.pop()
    raise BaseImageError(
        f"the release of {python.name} in the base image {asked} cannot be told from its files",
        hint="choose a base image with CPython as Debian, Docker's python images or python.org build it",
    )


def _libpythons(python: Path, root: Path) -> Iterator[Path]:
    beside = python.parent.parent / "lib"
    for directory in dict.fromkeys((beside, *library_directories(root))):
        yield from sorted(directory.glob("libpython3*.so.1.0"))


def _glibc_of(root: Path, asked: str) -> str:
    for directory in library_directories(root):
        libc = directory / "libc.so.6"
        if libc.is_file():
            for match in _matches(libc, _LIBC_VERSION):
                return match.decode()
    musl = any(root.glob("lib/ld-musl-*")) or any(root.glob("usr/lib/ld-musl-*"))
    problem = "is built on musl, which wheels for manylinux cannot use" if musl else "has no glibc"
    raise BaseImageError(f"the base image {asked} {problem}", hint="choose a Debian-like base image (--base)")


def _matches(path: Path, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
    if path.stat().st_size == 0:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in pattern.finditer(data):
            yield match[1]


def _os_release(root: Path) -> dict[str, str]:
    for name in ("etc/os-release", "usr/lib/os-release"):
        path = root / name
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
            return {key.strip(): _unquoted(value) for key, _, value in pairs}
    return {}


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value))
    except ValueError:
        return value.strip()
