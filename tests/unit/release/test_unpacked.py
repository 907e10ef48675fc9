"""What lies in an archive of a wheel is laid into the image, for the image's platform."""

from __future__ import annotations

import io
import zipfile

import pytest

from runbake.errors import UnsupportedFlavor
from runbake.flavors import Unpacked
from runbake.image import FileEntry
from runbake.release.unpacked import with_unpacked

WANTED = Unpacked(wheel="toy", archive="toy/jars/lib-*.jar", member="native/{machine}/it.so", to="/opt/it.so")


def a_jar(**members: bytes) -> FileEntry:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for machine, data in members.items():
            archive.writestr(f"native/{machine}/it.so", data)
    return FileEntry.of_bytes("opt/runbake/site-packages/toy/jars/lib-1.2.jar", raw.getvalue())


@pytest.mark.parametrize(("platform", "data"), [("linux/amd64", b"A"), ("linux/arm64/v8", b"B")])
def test_the_file_of_the_platform_is_laid_out(platform: str, data: bytes) -> None:
    """The wheel's own files stay, and one comes on top."""
    jar = a_jar(x86_64=b"A", aarch64=b"B")
    assert with_unpacked([jar], [WANTED], platform) == (jar, FileEntry.of_bytes("opt/it.so", data))


@pytest.mark.parametrize("entries", [[], [a_jar(aarch64=b"B")]])
def test_what_is_not_there_is_named(entries: list[FileEntry]) -> None:
    """Neither an image without it nor another platform's file."""
    with pytest.raises(UnsupportedFlavor, match=r"native/x86_64/it\.so"):
        with_unpacked(entries, [WANTED], "linux/amd64")
