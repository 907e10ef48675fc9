"""The tar of a layer: the same files, the same bytes; nothing outside the root."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.image import DuplicatePath, FileEntry, open_tar
from runbake.image.tar import MTIME

PARTS = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
GOLDEN = "61c4a6af8b6dce20dfb0dee8de17d3074ea9b47f056a7c714e6fdfe6c7b9f9f6"
FILES = st.dictionaries(PATHS, st.binary(max_size=2000), max_size=8).filter(
    lambda files: not any(a != b and b.startswith(a + "/") for a in files for b in files)
)


def tar_of(entries: list[FileEntry]) -> bytes:
    with open_tar(entries) as stream:
        return stream.read()


@given(FILES, st.randoms())
def test_order_does_not_matter(files: dict[str, bytes], random: object) -> None:
    """Shuffled files give an equal tar."""
    entries = [FileEntry.of_bytes(path, data) for path, data in files.items()]
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert tar_of(entries) == tar_of(shuffled)


@given(FILES)
def test_tarfile_reads_back_every_file(files: dict[str, bytes]) -> None:
    """An independent reader finds the same files with the normalised owner, mode and time."""
    raw = tar_of([FileEntry.of_bytes(path, data) for path, data in files.items()])

    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
        kinds = {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in archive}
    assert files == found
    assert kinds <= {(0, 0, "", "", MTIME)}


def test_golden() -> None:
    """These files have had this diff_id since the first release."""
    entries = [
        FileEntry.of_bytes("opt/app/a.txt", b"hello\n"),
        FileEntry.of_bytes("opt/app/bin/run", b"#!/bin/sh\n", executable=True),
        FileEntry(path="opt/app/link", content=b"", size_bytes=0, link_target="a.txt"),
        FileEntry.of_bytes("opt/" + "long/" * 60 + "é.txt", b"x" * 513),
    ]

    assert hashlib.sha256(tar_of(entries)).hexdigest() == GOLDEN


def test_files_are_read_from_disk_each_time(tmp_path: Path) -> None:
    """A stream can be opened again and gives the same bytes, larger than one chunk."""
    source = tmp_path / "weights"
    source.write_bytes(bytes(range(256)) * 10_000)
    entries = [FileEntry(path="m/weights", content=source, size_bytes=source.stat().st_size)]

    assert tar_of(entries) == tar_of(entries)
    assert len(tar_of(entries)) % 512 == 0


def test_duplicate_path_is_refused() -> None:
    """Two entries for one path are an error, not a race."""
    with pytest.raises(DuplicatePath, match="a/b"):
        tar_of([FileEntry.of_bytes("a/b", b"1"), FileEntry.of_bytes("a/b", b"2")])


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\0b", "a/"])
def test_paths_that_leave_the_image_are_refused(path: str) -> None:
    """No path escapes the root."""
    with pytest.raises(ValueError, match="not a path"):
        tar_of([FileEntry.of_bytes(path, b"")])
