"""Layers, manifests, layouts: digests that hold, in both formats."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from runbake.errors import ConfigError, InvalidImage
from runbake.image import (
    GZIP,
    BaseParts,
    Blob,
    Digest,
    FileEntry,
    Format,
    Image,
    Layer,
    Runtime,
    archive_written,
    check_archive,
    engine_archive,
    image_of,
    layer_of_packed,
    layout_written,
    open_tar,
    pack,
    platform_image,
    stored_layer,
)
from runbake.image.codec import MEMBER_BYTES
from tests.unit.image_check import contradictions

Writer = Callable[..., AbstractContextManager[Image]]
HOSTILE = {"a": 'quote" $(id) {{x}} ${y}', "ü\n": "line\nbreak\\"}
RUNTIME = Runtime(
    entrypoint=("/usr/bin/python3", "-m", "x"), command=("serve",), env=(("A", "2"),), user="1:1", port=8080
)


def gzip_layer(directory: Path, data: bytes) -> Layer:
    target = directory / "layer"
    with open_tar([FileEntry.of_bytes("a", data)]) as tar, target.open("wb") as out:
        packed = pack(tar, GZIP, out)
    return layer_of_packed("a", packed, GZIP, target, "a file")


def an_image(directory: Path, image_format: Format, *platforms: str) -> Image:
    base = BaseParts(
        layers=(stored_layer("base", [FileEntry.of_bytes("etc/os", b"x")], "base"),),
        history=('{"created_by":"base"}', '{"created_by":"ENV","empty_layer":true}'),
        env=("A=1", "B=1=2"),
    )
    made = [
        platform_image(
            image_format=image_format,
            platform=platform,
            base=base,
            layers=[gzip_layer(directory, b"y" * 3 * MEMBER_BYTES)],
            runtime=RUNTIME,
            labels=HOSTILE,
            created="2026-01-02T03:04:05Z",
        )
        for platform in platforms
    ]
    return image_of(made, image_format=image_format, annotations=HOSTILE)


@pytest.mark.parametrize("image_format", ["oci", "docker"])
@pytest.mark.parametrize("platforms", [("linux/amd64",), ("linux/amd64", "linux/arm64/v8")])
def test_images_are_valid_and_repeatable(
    tmp_path: Path, image_format: Format, platforms: tuple[str, ...]
) -> None:
    """Every digest, size and diff_id agrees, and the same parts give the same image."""
    image = an_image(tmp_path, image_format, *platforms)

    assert contradictions(image) == []
    assert image.digest == an_image(tmp_path, image_format, *platforms).digest


def test_labels_round_trip(tmp_path: Path) -> None:
    """Labels with quotes, newlines and non-ASCII survive in the config and in the annotations."""
    image = an_image(tmp_path, "oci", "linux/amd64")

    config = json.loads(image.platforms[0].config.open().read())
    assert config["config"]["Labels"] == HOSTILE
    assert json.loads(image.body)["annotations"] == HOSTILE


def test_base_environment_is_kept_and_ours_wins(tmp_path: Path) -> None:
    """The base's variables stay, in order; ours replace those of the same name."""
    config = json.loads(an_image(tmp_path, "oci", "linux/amd64").platforms[0].config.open().read())

    assert config["config"]["Env"] == ["A=2", "B=1=2"]


def test_docker_format_has_no_oci_words(tmp_path: Path) -> None:
    """SageMaker and Lambda refuse OCI media types; Docker's format holds none, and no annotations."""
    image = an_image(tmp_path, "docker", "linux/amd64", "linux/arm64")

    bodies = image.body + image.platforms[0].manifest
    assert b"vnd.oci" not in bodies
    assert b"annotations" not in bodies


def test_gzip_is_a_series_of_members_that_gzip_reads(tmp_path: Path) -> None:
    """zlib reads what libdeflate wrote, across members, and no clock is in the header."""
    data = bytes(1000) + b"z" * (2 * MEMBER_BYTES)
    layer = gzip_layer(tmp_path, data)

    with layer.blob.open() as source:
        stored = source.read()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(stored))) as archive:
        assert archive.extractfile("a").read() == data  # type: ignore[union-attr]
    assert stored[4:8] == bytes(4)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_bytes(threads: int) -> None:
    """One thread or five: the same digest."""
    data = b"abc" * (3 * MEMBER_BYTES)

    assert pack(io.BytesIO(data), GZIP, None, threads=threads) == pack(io.BytesIO(data), GZIP, None)


def test_check_lists_every_contradiction(tmp_path: Path) -> None:
    """A blob that changed is found by digest, size and diff_id."""
    image = an_image(tmp_path, "oci", "linux/amd64")
    broken = dataclasses.replace(
        image.platforms[0].layers[0],
        blob=Blob(digest=Digest.of(b""), size_bytes=0, open=lambda: io.BytesIO(b"changed")),
    )
    layers = (broken, *image.platforms[0].layers[1:])
    platform = dataclasses.replace(image.platforms[0], layers=layers)

    found = contradictions(dataclasses.replace(image, platforms=(platform,)))

    assert ["digest is" in found[0], "7 bytes" in found[1], "diff_id is" in found[2]] == [True] * 3
    assert len(found) == 3


def test_docker_format_refuses_zstd(tmp_path: Path) -> None:
    """A zstd base layer has no name in Docker's format; the error says what to do."""
    layer = dataclasses.replace(gzip_layer(tmp_path, b"x"), compression="zstd")

    with pytest.raises(InvalidImage, match="zstd") as caught:
        platform_image(
            image_format="docker",
            platform="linux/amd64",
            base=BaseParts(layers=(), history=(), env=()),
            layers=[layer],
            runtime=RUNTIME,
            labels={},
            created="2026-01-02T03:04:05Z",
        )
    assert "--format oci" in caught.value.hint


def write_layout(image: Image, directory: Path) -> None:
    """Write a layout in which nothing goes wrong."""
    with layout_written(image, directory, name="h/n:t"):
        pass


def write_archive(image: Image, target: Path) -> None:
    """Write an archive in which nothing goes wrong."""
    with archive_written(image, target, name="h/n:t"):
        pass


def test_layout_and_archive_hold_the_same_blobs(tmp_path: Path) -> None:
    """The directory and the tar carry every blob under its digest, and Docker's own manifest in the tar."""
    image = an_image(tmp_path, "oci", "linux/amd64", "linux/arm64")
    write_layout(image, tmp_path / "dir")
    write_archive(image, tmp_path / "file.tar")

    blobs = {path.name: path.read_bytes() for path in (tmp_path / "dir/blobs/sha256").iterdir()}
    assert {name: Digest.of(data).hex for name, data in blobs.items()} == {name: name for name in blobs}
    with tarfile.open(tmp_path / "file.tar") as archive:
        names = {m.name for m in archive if m.isfile()}
        docker = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert names == {f"blobs/sha256/{name}" for name in blobs} | {
        "index.json",
        "manifest.json",
        "oci-layout",
    }
    assert docker[0]["RepoTags"] == ["h/n:t"]
    assert set(docker[0]["Layers"]) <= names


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 32, "0" * 64])
def test_digest_refuses_anything_else(text: str) -> None:
    """A digest is parsed once, at the door."""
    with pytest.raises(ValueError, match="not a sha256 digest"):
        Digest(text)


@pytest.mark.parametrize("written", [layout_written, archive_written])
def test_outputs_get_their_name_in_the_end_only(tmp_path: Path, written: Writer) -> None:
    """What is written can be read before, and a failure then leaves nothing: no output is unproved."""
    image = an_image(tmp_path, "oci", "linux/amd64", "linux/arm64")
    target = tmp_path / "outputs" / "made"

    def fail() -> None:
        with written(image, target, name="h/n:t") as stored:
            assert contradictions(stored) == []
            assert not target.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path / "outputs") == []


def test_a_layout_is_added_to(tmp_path: Path) -> None:
    """A second image joins the first one's blobs, and is what the layout holds once it is proved."""
    first, second = an_image(tmp_path, "oci", "linux/amd64"), an_image(tmp_path, "oci", "linux/arm64")
    target = tmp_path / "dir"
    write_layout(first, target)
    with layout_written(second, target, name="n"):
        assert json.loads((target / "index.json").read_bytes())["manifests"][0]["digest"] == first.digest

    assert json.loads((target / "index.json").read_bytes())["manifests"][0]["digest"] == second.digest
    names = {path.name for path in (target / "blobs/sha256").iterdir()}
    assert {first.digest.hex, second.digest.hex} <= names


def test_two_that_write_one_layout_both_succeed(tmp_path: Path) -> None:
    """The later one finds the earlier one's layout when it renames its own, and adds to it."""
    first, second = an_image(tmp_path, "oci", "linux/amd64"), an_image(tmp_path, "oci", "linux/arm64")
    target = tmp_path / "dir"
    with layout_written(second, target, name="n"):
        other = tmp_path / "other"
        write_layout(first, other)
        other.rename(target)

    assert json.loads((target / "index.json").read_bytes())["manifests"][0]["digest"] == second.digest
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["file", "other things"])
def test_no_layout_goes_among_other_things(tmp_path: Path, kind: str) -> None:
    """Neither a home directory nor a file is taken for an output."""
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")

    with pytest.raises(ConfigError, match="target"):
        write_layout(an_image(tmp_path, "oci", "linux/amd64"), target)


def test_an_archive_streams_into_a_fifo(tmp_path: Path) -> None:
    """`--output pipe.tar` beside `docker load < pipe.tar`: the reader gets the whole tar, the fifo stays."""
    image, fifo = an_image(tmp_path, "oci", "linux/amd64"), tmp_path / "pipe.tar"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()

    write_archive(image, fifo)
    reader.join(timeout=20)

    write_archive(image, tmp_path / "file.tar")
    assert read == [(tmp_path / "file.tar").read_bytes()]
    assert fifo.is_fifo()


def test_an_engine_gets_one_platform_under_the_tag_it_asked_for(tmp_path: Path) -> None:
    """Docker's own manifest only, so that engines of any age read the same platform."""
    platform = an_image(tmp_path, "oci", "linux/amd64", "linux/arm64").platforms[1]

    with tarfile.open(fileobj=io.BytesIO(b"".join(engine_archive(platform, "n:t")))) as archive:
        (document,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        names = {member.name for member in archive if member.isfile()}

    assert document["RepoTags"] == ["n:t"]
    assert names == {"manifest.json", document["Config"], *document["Layers"]}
    assert document["Config"].endswith(platform.config.digest.hex)


def test_an_archive_takes_the_place_of_archives_only(tmp_path: Path) -> None:
    """An image's archive, an empty file or nothing may be there; another file or tar is not lost."""
    image = an_image(tmp_path, "oci", "linux/amd64")
    ours, text, other, empty = (
        tmp_path / name for name in ("ours.tar", "text.tar", "other.tar", "empty.tar")
    )
    write_archive(image, ours)
    text.write_text("precious")
    with tarfile.open(other, "w") as archive:
        archive.add(text, "precious")
    empty.touch()

    for path in (ours, empty, tmp_path / "none.tar"):
        check_archive(path)
    for path in (text, other):
        with pytest.raises(ConfigError, match="not an image archive"):
            check_archive(path)
