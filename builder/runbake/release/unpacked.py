"""Files in archives that wheels bring, such as a native library in a jar, laid where code may be loaded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from runbake.environment import LockedWheel
from runbake.errors import UnsupportedFlavor
from runbake.flavors import Unpacked
from runbake.image import FileEntry
from runbake_serving import contract

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def unpacked_of(wheels: Iterable[LockedWheel], wanted: Iterable[Unpacked]) -> tuple[Unpacked, ...]:
    """Those of a flavor's wishes that one of these wheels fulfils."""
    names = {wheel.name for wheel in wheels}
    return tuple(one for one in wanted if one.wheel in names)


def with_unpacked(
    entries: Sequence[FileEntry], wanted: Iterable[Unpacked], platform: str
) -> tuple[FileEntry, ...]:
    """The entries and what was wanted out of them.

    Raises:
        UnsupportedFlavor: the wheel has no such archive, or the archive no such file, for this platform.
    """
    return (*entries, *(_entry(entries, one, platform) for one in wanted))


def _entry(entries: Sequence[FileEntry], wanted: Unpacked, platform: str) -> FileEntry:
    member = wanted.member.format(machine=_MACHINES.get("/".join(platform.split("/")[:2]), platform))
    for archive in _archives(entries, wanted):
        if member in archive.namelist():
            return FileEntry.of_bytes(wanted.to.lstrip("/"), archive.read(member))
    raise UnsupportedFlavor(
        f"the wheel of {wanted.wheel} has no {member} in {wanted.archive}, which {platform} needs",
        hint="train and log the model with another version",
    )


def _archives(entries: Sequence[FileEntry], wanted: Unpacked) -> Iterator[zipfile.ZipFile]:
    pattern = f"{contract.SITE_PACKAGES.lstrip('/')}/{wanted.archive}"
    for entry in entries:
        if fnmatchcase(entry.path, pattern):
            content = entry.content
            with zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content) as archive:
                yield archive
