"""The store: what was made once is recalled, and nothing half-written is seen."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from runbake.errors import DiskFull
from runbake.image import GZIP, FileEntry, Layer
from runbake.store import Store, disk_full_is_named

ENTRIES = (FileEntry.of_bytes("a", b"x"),)


def bytes_of(layer: Layer) -> bytes:
    with layer.blob.open() as source:
        return source.read()


def refuse() -> tuple[FileEntry, ...]:
    raise AssertionError("made again")


def test_a_known_recipe_is_not_made_again(tmp_path: Path) -> None:
    """The second time, the layer comes from disk."""
    store = Store(tmp_path)
    first = store.layer("r", lambda: ENTRIES, GZIP, name="n", comment="c")

    again = Store(tmp_path).layer("r", refuse, GZIP, name="n", comment="c")

    assert (first.blob.digest, first.diff_id) == (again.blob.digest, again.diff_id)
    assert bytes_of(again) == bytes_of(first)


@pytest.mark.parametrize("damage", ["gone", "short", "recipe"])
def test_a_damaged_store_makes_the_layer_again(tmp_path: Path, damage: str) -> None:
    """A lost or cut blob, or a broken recipe, costs time and nothing else."""
    store = Store(tmp_path)
    first = store.layer("r", lambda: ENTRIES, GZIP, name="n", comment="c")
    before, blob = bytes_of(first), store.blob_path(first.blob.digest.hex)
    if damage == "gone":
        blob.unlink()
    elif damage == "short":
        blob.write_bytes(blob.read_bytes()[:-1])
    else:
        (tmp_path / "recipes" / "r").write_text("{")

    again = store.layer("r", lambda: ENTRIES, GZIP, name="n", comment="c")

    assert bytes_of(again) == before
    assert again.blob.digest == first.blob.digest


def test_a_failed_layer_leaves_nothing(tmp_path: Path) -> None:
    """An error while a layer is made leaves no blob, no recipe and no temporary file."""
    store = Store(tmp_path)
    gone = FileEntry(path="a", content=tmp_path / "absent", size_bytes=1)

    with pytest.raises(FileNotFoundError):
        store.layer("r", lambda: (gone,), GZIP, name="n", comment="c")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not store.knows("r")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """ENOSPC becomes an error that says which device and what to do; other errors stay."""
    with pytest.raises(DiskFull, match="no space left") as caught, disk_full_is_named(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "--cache" in caught.value.hint
    with pytest.raises(PermissionError), disk_full_is_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")
