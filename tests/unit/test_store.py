"""The store: what was made once is recalled, and nothing half-written is seen."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from runbake.errors import DiskFull
from runbake.image import GZIP, STORED, FileEntry, Layer
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


def a_layer(store: Store, name: str, *, age_s: int) -> Path:
    """A layer of about a kilobyte that was used last so long ago; its blob."""
    entries = (FileEntry.of_bytes(name, name.encode() * 100),)
    layer = store.layer(name, lambda: entries, STORED, name=name, comment="")
    blob = store.blob_path(layer.blob.digest.hex)
    then = blob.stat().st_mtime - age_s
    os.utime(blob, (then, then))
    return blob


def test_the_least_recently_used_goes_when_there_is_too_much(tmp_path: Path) -> None:
    """Blobs and unpacked bases go, the oldest first, until the rest fits; recipes go with their blobs."""
    store = Store(tmp_path)
    oldest, middle, newest = (a_layer(store, n, age_s=s) for n, s in (("a", 300), ("b", 200), ("c", 100)))
    base = tmp_path / "bases" / "0" / "root" / "bin"
    base.mkdir(parents=True)
    (base / "python").write_bytes(b"x" * 100_000)
    (tmp_path / "bases" / "0" / "facts.json").write_text("{}")
    os.utime(tmp_path / "bases" / "0" / "facts.json", (0, 0))
    sizes = {path: path.stat().st_size for path in (oldest, middle, newest)}
    assert [each.path.name for each in store.kept()] == ["0", oldest.name, middle.name, newest.name]
    assert store.prune() == 0

    small = Store(tmp_path, limit_bytes=sizes[middle] + sizes[newest])
    assert small.prune() == 100_002 + sizes[oldest]

    assert [each.path for each in small.kept()] == [middle, newest]
    assert sorted(path.name for path in (tmp_path / "recipes").iterdir()) == ["b", "c"]
    assert not list(tmp_path.glob("tmp-*"))


def test_a_recalled_layer_was_just_used(tmp_path: Path) -> None:
    """What a build recalls is not the least recently used any more."""
    store = Store(tmp_path)
    first, _second = a_layer(store, "a", age_s=300), a_layer(store, "b", age_s=200)
    assert store.knows("a")
    assert store.kept()[-1].path == first


def test_what_a_running_build_may_hold_stays(tmp_path: Path) -> None:
    """Used since the oldest running build began: not pruned, however small the limit."""
    store = Store(tmp_path, limit_bytes=0)
    old, used = a_layer(store, "a", age_s=300), a_layer(store, "b", age_s=200)
    with store.scratch():
        assert store.knows("b")
        store.prune()
        assert [each.path for each in store.kept()] == [used]
    store.prune()
    assert store.kept() == ()
    assert not old.exists()


def test_damaged_blobs_are_found_by_their_bytes(tmp_path: Path) -> None:
    """A blob of the right size and other bytes is forgotten, and made again when it is asked for."""
    store = Store(tmp_path)
    good, bad = a_layer(store, "a", age_s=0), a_layer(store, "b", age_s=0)
    before = bad.read_bytes()
    bad.write_bytes(before[:-1] + b"!")

    assert store.forget_damaged([good.name, bad.name, "0" * 64]) == (bad.name,)
    assert store.knows("a")
    assert not store.knows("b")
    assert a_layer(store, "b", age_s=0).read_bytes() == before


def test_a_blob_is_fetched_once(tmp_path: Path) -> None:
    """What is here is not fetched again; a fetch that fails leaves nothing."""
    store, calls = Store(tmp_path), []

    def fetch(path: Path) -> None:
        calls.append(path)
        path.write_bytes(b"layer")

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyError

    with pytest.raises(KeyError):
        store.open_blob("0" * 64, fail)
    for _ in range(2):
        with store.open_blob("0" * 64, fetch) as blob:
            assert blob.read() == b"layer"
    assert len(calls) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["0" * 64]


def test_another_users_cache_can_be_read() -> None:
    """A layer that somebody else keeps is known to a user who may only read there."""
    with tempfile.TemporaryDirectory() as directory:  # pytest's own let nobody else in
        root = Path(directory)
        root.chmod(0o755)
        store = Store(root)
        a_layer(store, "a", age_s=0)
        assert store.knows("a")
        (root / "prune.lock").chmod(0o444)
        child = os.fork()
        if child == 0:
            known = False
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                known = Store(root).knows("a")
            finally:
                os._exit(not known)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_environment_is_made_once_and_pruned_as_the_rest(tmp_path: Path) -> None:
    """What failed half-way is made again; what nobody uses goes when there is too much."""
    store = Store(tmp_path, limit_bytes=10)

    def broken(root: Path) -> None:
        (root / "half").write_bytes(b"x" * 100)
        raise ValueError("half-way")

    def whole(root: Path) -> None:
        (root / "file").write_bytes(b"x" * 100)

    def again(_: Path) -> None:
        raise AssertionError("made again")

    with pytest.raises(ValueError, match="half-way"):
        store.environment("name", broken)
    place = store.environment("name", whole)
    assert sorted(path.name for path in place.iterdir()) == [".used", "file"]
    assert store.environment("name", again) == place

    with store.scratch():
        store.environment("name", again)
        assert store.prune() == 0, "a running command may hold it"
    assert store.prune() == 100
    assert not place.exists()
