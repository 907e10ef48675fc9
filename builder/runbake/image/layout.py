"""An image as files: an OCI layout directory, or one tar that `docker load` and `skopeo` both read.

The tar is the same layout with Docker's `manifest.json` beside it, as Docker 25's own `docker save` writes.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import shutil
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from runbake.errors import ConfigError, DigestMismatch
from runbake.image.blob import Blob, Descriptor, chunks_of
from runbake.image.entry import FileEntry
from runbake.image.manifest import OCI_INDEX, Image, PlatformImage, blobs_of, canonical_json
from runbake.image.tar import segments_of
from runbake.output import beside, is_stream, name_beside, written

_BLOBS = "blobs/sha256"


def _files_of(image: Image) -> Iterator[Blob]:
    """Layers and configs, and as files beside them the manifests."""
    found = {digest: blob for digest, (blob, _) in blobs_of(image).items()}
    manifests = [(platform.descriptor.digest, platform.manifest) for platform in image.platforms]
    for digest, body in (*manifests, (image.digest, image.body)):
        found[digest] = Blob(digest=digest, size_bytes=len(body), open=functools.partial(BytesIO, body))
    yield from found.values()


def _small_files(image: Image, name: str) -> dict[str, bytes]:
    root = Descriptor(
        media_type=image.media_type,
        digest=image.digest,
        size_bytes=len(image.body),
        annotations=(("org.opencontainers.image.ref.name", name),) if name else (),
    )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [root.to_json()]}
    return {
        "oci-layout": canonical_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": canonical_json(index),
    }


@contextmanager
def layout_written(image: Image, directory: Path, *, name: str) -> Iterator[Image]:
    """Write an OCI image layout that is `directory` once the block ends well; gives the image as written.

    A new layout is made beside `directory` and renamed. An earlier one is added to: what it holds is kept,
    and `index.json`, which makes the new image its content, comes last.

    Raises:
        ConfigError: there is something else under that name.
        DigestMismatch: a blob's bytes are not its digest's.

    Source: OCI image-spec v1.1, image-layout.md.
    """
    check_layout(directory)
    if _holds_something(directory):
        _write_blobs(image, directory)
        yield _read_from(image, lambda path: (directory / path).open("rb"))
        _write_small(image, directory, name)
        return
    target = directory.resolve()
    partial = name_beside(target)
    try:
        _write_blobs(image, partial)
        _write_small(image, partial, name)
        yield _read_from(image, lambda path: (partial / path).open("rb"))
        _rename_layout(image, partial, target, name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_layout(directory: Path) -> None:
    """Fail where no layout can be written, before there is one.

    Raises:
        ConfigError: it is a file, or a directory of other things.
        OSError: it cannot be looked at.
    """
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory", hint="an OCI layout is one; a file ends in .tar")
    if _holds_something(directory) and not (directory / "oci-layout").is_file():
        raise ConfigError(f"{directory} holds something else than an OCI layout", hint="name a new directory")


def _holds_something(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def _rename_layout(image: Image, partial: Path, target: Path, name: str) -> None:
    try:
        partial.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another build wrote one there in the meantime; the blobs of both have a place in it.
        check_layout(target)
        _write_blobs(_read_from(image, lambda path: (partial / path).open("rb")), target)
        _write_small(image, target, name)


def _write_blobs(image: Image, directory: Path) -> None:
    (directory / _BLOBS).mkdir(parents=True, exist_ok=True)
    for blob in _files_of(image):
        target = directory / _BLOBS / blob.digest.hex
        if not (target.is_file() and target.stat().st_size == blob.size_bytes):
            with written(target) as out:
                out.writelines(_checked(blob))


def _checked(blob: Blob) -> Iterator[bytes]:
    """The blob's bytes, and at their end an error if they are others than its digest's."""
    hashed = hashlib.sha256()
    with blob.open() as source:
        for chunk in chunks_of(source):
            hashed.update(chunk)
            yield chunk
    if hashed.hexdigest() != blob.digest.hex:
        raise DigestMismatch(
            f"what is read of {blob.digest} has the digest sha256:{hashed.hexdigest()}",
            hint="a file in the cache is damaged: the same command makes it again",
        )


def _write_small(image: Image, directory: Path, name: str) -> None:
    for file_name, data in _small_files(image, name).items():
        with written(directory / file_name) as out:
            out.write(data)


def check_archive(path: Path) -> None:
    """Fail where no archive can be written, or where somebody's file would be lost, before there is one.

    Raises:
        ConfigError: it is a directory, or a file that is no image archive.
        OSError: it cannot be looked at.
    """
    if is_stream(path) or not path.exists() or not path.stat().st_size:
        return
    try:
        with tarfile.open(path) as archive:
            ours = any(member.name == "oci-layout" for member in archive)
    except tarfile.TarError:
        ours = False
    if not ours:
        raise ConfigError(f"{path} is there, and is not an image archive", hint="name a new file")


@contextmanager
def archive_written(image: Image, target: Path, *, name: str) -> Iterator[Image]:
    """Write one tar that `docker load` reads, `target` once the block ends well; gives the image as written.

    `name` is the HOST/NAME:TAG it loads as. Docker's loader takes a single platform: the first one. The OCI
    index in it names all of them. A fifo or a device is written after the block.

    Raises:
        ConfigError: no file can be written there.
        DigestMismatch: a blob's bytes are not its digest's.
    """
    if is_stream(target):
        for blob in _files_of(image):
            # What went into a stream cannot be taken back, so the damage is to be found before.
            deque(_checked(blob), maxlen=0)
        yield image
        with written(target) as stream:
            stream.writelines(_archive_segments(image, name))
        return
    with beside(target) as partial:
        with partial.open("wb") as out:
            out.writelines(_archive_segments(image, name))
        places = _places_in(partial)
        yield _read_from(image, lambda path: _Part.of(partial, *places[path]))


def _archive_segments(image: Image, name: str) -> Iterator[bytes]:
    small = {**_small_files(image, name), "manifest.json": _docker_manifest(image.platforms[0], name)}
    return _tar_segments(small, _files_of(image))


def engine_archive(platform: PlatformImage, name: str) -> Iterator[bytes]:
    """The tar of one platform that an engine of any age loads as `name`."""
    blobs = {blob.digest: blob for blob in (platform.config, *(layer.blob for layer in platform.layers))}
    return _tar_segments({"manifest.json": _docker_manifest(platform, name)}, blobs.values())


def _docker_manifest(platform: PlatformImage, name: str) -> bytes:
    return canonical_json(
        [
            {
                "Config": f"{_BLOBS}/{platform.config.digest.hex}",
                "RepoTags": [name] if name else [],
                "Layers": [f"{_BLOBS}/{layer.blob.digest.hex}" for layer in platform.layers],
            }
        ]
    )


def _tar_segments(small: Mapping[str, bytes], blobs: Iterable[Blob]) -> Iterator[bytes]:
    sources = {f"{_BLOBS}/{blob.digest.hex}": blob for blob in blobs}
    entries = [FileEntry.of_bytes(path, data) for path, data in small.items()]
    # A marker path stands where a blob's bytes go: blobs may be streams, which an entry cannot hold.
    entries += [
        FileEntry(path=path, content=Path(path), size_bytes=blob.size_bytes) for path, blob in sources.items()
    ]
    for segment in segments_of(entries):
        if isinstance(segment, bytes):
            yield segment
        else:
            yield from _checked(sources[segment.as_posix()])


def _read_from(image: Image, opened: Callable[[str], BinaryIO]) -> Image:
    """The same image, its blobs read from where they were written."""

    def moved(blob: Blob) -> Blob:
        return replace(blob, open=lambda: opened(f"{_BLOBS}/{blob.digest.hex}"))

    return replace(
        image,
        platforms=tuple(
            replace(
                platform,
                config=moved(platform.config),
                layers=tuple(replace(layer, blob=moved(layer.blob)) for layer in platform.layers),
            )
            for platform in image.platforms
        ),
    )


def _places_in(archive: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of each file in a tar."""
    with tarfile.open(archive, "r:") as tar:
        return {member.name: (member.offset_data, member.size) for member in tar}


class _Part(io.RawIOBase):
    """A part of a file as a stream of its own."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._left = file, size_bytes

    @classmethod
    def of(cls, path: Path, offset: int, size_bytes: int) -> BinaryIO:
        """Open the bytes from `offset` on."""
        file = path.open("rb")
        file.seek(offset)
        return cast(BinaryIO, cls(file, size_bytes))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
