"""What an unpacked base says about itself, found in its files; nothing of it is run."""

from __future__ import annotations

import mmap
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from runbake.base.base import PythonFacts
from runbake.errors import BaseImageError

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMES = ("python3", "python")
_ELF = b"\x7fELF"
_PYTHON_NAME = re.compile(r"python(3\.\d+)")
_LIBC_VERSION = re.compile(rb" release version \d+\.\d+")
_HEADER_VERSION = re.compile(r'^#define\s+PY_VERSION\s+"([^"\s]+)"', re.MULTILINE)
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
    """The exact release: from its header, else a string constant of the interpreter or its libpython."""
    named = _PYTHON_NAME.fullmatch(python.name)
    number = re.escape(named[1]) if named else r"3\.\d+"
    header = _one_of(_header_versions(python, re.compile(number)))
    if header:
        return header
    pattern = re.compile(number.encode() + rb"\.\d+(?:(?:a|b|rc)\d+)?\+?\0")
    for library in (python, *_libpythons(python, root)):
        found = tuple(_constants(library, pattern))
        # A linker may store the constant as the end of another string, such as a prefix that ends in it.
        version = _one_of(text for text, alone in found if alone) or _one_of(text for text, _ in found)
        if version:
            return version
    raise BaseImageError(
        f"the release of {python.name} in the base image {asked} cannot be told from its files",
        hint="choose a base image with CPython as Debian, Docker's python images or python.org build it",
    )


def _one_of(texts: Iterable[str]) -> str:
    different = set(texts)
    return different.pop() if len(different) == 1 else ""


def _header_versions(python: Path, number: re.Pattern[str]) -> Iterator[str]:
    for header in sorted(python.parent.parent.glob("include/python3*/patchlevel.h")):
        text = header.read_text(encoding="utf-8", errors="replace")
        match = _HEADER_VERSION.search(text)
        if match and number.match(match[1]):
            yield match[1]


def _constants(library: Path, pattern: re.Pattern[bytes]) -> Iterator[tuple[str, bool]]:
    """The versions at the end of the file's strings, and whether they are the whole string."""
    for before, text in _matches(library, pattern):
        if before and not before.isdigit() and before != b".":
            yield text[:-1].decode(), before == b"\0"


def _libpythons(python: Path, root: Path) -> Iterator[Path]:
    beside = python.parent.parent / "lib"
    for directory in dict.fromkeys((beside, *library_directories(root))):
        yield from sorted(directory.glob("libpython3*.so.1.0"))


def _glibc_of(root: Path, asked: str) -> str:
    for directory in library_directories(root):
        libc = directory / "libc.so.6"
        if libc.is_file():
            for _, text in _matches(libc, _LIBC_VERSION):
                return text.rsplit(maxsplit=1)[-1].decode()
    musl = any(root.glob("lib/ld-musl-*")) or any(root.glob("usr/lib/ld-musl-*"))
    problem = "is built on musl, which wheels for manylinux cannot use" if musl else "has no glibc"
    raise BaseImageError(f"the base image {asked} {problem}", hint="choose a Debian-like base image (--base)")


def _matches(path: Path, pattern: re.Pattern[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each match with the byte before it, b"" at the start."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in pattern.finditer(data):
            yield data[max(match.start() - 1, 0) : match.start()], match[0]


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
