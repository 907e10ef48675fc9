"""What Debian's package manager installed in a base image, read from its own files; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LARGEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianPackage:
    """An installed package; `architecture` is Debian's word, such as "amd64" or "all"."""

    name: str
    version: str
    architecture: str


def debian_packages(root: Path) -> tuple[DebianPackage, ...]:
    """The installed packages of an unpacked base, sorted; () where it has no package database.

    Distroless images keep one file for each package in status.d.

    Source: dpkg(1), "FILES"; deb822(5).
    """
    database = root / "var" / "lib" / "dpkg"
    files = [database / "status", *sorted((database / "status.d").glob("*"))]
    found = {
        package
        for file in files
        # A link may lead anywhere: unpacking keeps it inside of the tree.
        if file.is_file() and not file.name.endswith(".md5sums") and file.stat().st_size <= _LARGEST_BYTES
        for package in _installed(file)
    }
    return tuple(sorted(found, key=lambda package: (package.name, package.architecture, package.version)))


def _installed(file: Path) -> Iterator[DebianPackage]:
    for paragraph in file.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        lines = (line.partition(":") for line in paragraph.splitlines() if not line.startswith((" ", "\t")))
        fields = {key: value.strip() for key, _, value in lines}
        if fields.get("Package") and fields.get("Version") and _is_there(fields.get("Status", "")):
            yield DebianPackage(
                name=fields["Package"],
                version=fields["Version"],
                architecture=fields.get("Architecture", ""),
            )


def _is_there(status: str) -> bool:
    # Distroless leaves the field out.
    return not status or status.split()[-1] == "installed"
