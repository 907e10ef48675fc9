"""The digest of the model's layer, taken while its files arrive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.image import stored_layer
from runbake.release.model_layer import ArrivingLayer, model_entries
from runbake.tracking import ModelFile

CONTENTS = {"MLmodel": b"flavors", "code/empty.py": b"", "code/x.py": b"x" * 600, "model.pkl": b"w" * 5000}
FILES = tuple(ModelFile(path=path, size_bytes=len(data)) for path, data in sorted(CONTENTS.items()))


def expected_of(root: Path) -> str:
    """The digest that the layer has when it is read from its files."""
    return str(stored_layer("model", model_entries(root, FILES), "").blob.digest)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Add bytes to a file that is being downloaded."""

    def add(path: str, data: bytes) -> Path:
        place = tmp_path / "growing" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as file:
            file.write(data)
        return place

    return add


@given(order=st.permutations(sorted(CONTENTS)), piece=st.integers(min_value=1, max_value=5000))
def test_the_digest_does_not_depend_on_who_arrives_first(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], piece: int
) -> None:
    """Files in any order, in pieces of any size: the digests and the size are those of the layer."""
    root = tmp_path_factory.mktemp("layer")
    layer = ArrivingLayer(FILES)
    for path in order:
        place, data = root / "growing" / path, CONTENTS[path]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        for start in range(0, len(data), piece):
            with place.open("ab") as file:
                file.write(data[start : start + piece])
            layer.arrived(path, place, min(start + piece, len(data)))
    (root / "growing").rename(root / "model")

    packed = layer.finished(root / "model")
    assert packed is not None
    whole = stored_layer("model", model_entries(root / "model", FILES), "")
    assert (f"sha256:{packed.sha256}", packed.size_bytes) == (whole.blob.digest, whole.blob.size_bytes)
    assert packed.diff_sha256 == packed.sha256


def test_bytes_are_hashed_before_the_end(write: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    """What is hashed as it arrives is not read again: it may be gone in the end."""
    layer = ArrivingLayer(FILES)
    for path, data in sorted(CONTENTS.items()):
        place = write(path, data)
        if data:
            layer.arrived(path, place, len(data))
    expected = expected_of(tmp_path / "growing")
    for path in CONTENTS:
        (tmp_path / "growing" / path).unlink()

    packed = layer.finished(tmp_path / "nowhere")
    assert packed is not None
    assert f"sha256:{packed.sha256}" == expected


def test_a_download_that_begins_anew_is_not_believed(
    write: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    """A broken attempt may have brought other bytes: the digest must be taken from the files."""
    layer = ArrivingLayer(FILES)
    layer.arrived("MLmodel", write("MLmodel", b"flav"), 4)
    layer.arrived("MLmodel", tmp_path / "growing" / "MLmodel", 0)
    for path, data in CONTENTS.items():
        layer.arrived(path, write(path, data), len(data))
    assert layer.finished(tmp_path / "growing") is None


def test_a_file_that_is_removed_under_way_is_not_believed(tmp_path: Path) -> None:
    """A file that was said to be there and is not ends no download: it is about to begin anew."""
    layer = ArrivingLayer(FILES)
    layer.arrived("MLmodel", tmp_path / "gone", 4)
    assert layer.finished(tmp_path) is None


def test_a_file_shorter_than_it_was_listed_is_not_believed(
    write: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    """The listing is compared elsewhere; here, such a layer has no digest."""
    for path, data in CONTENTS.items():
        write(path, data[:-1])
    assert ArrivingLayer(FILES).finished(tmp_path / "growing") is None
