"""An image beside the one that was built again from its record: where they differ, and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

from runbake.errors import VerificationFailed
from runbake.image import Descriptor, Digest, Image, Layer, PlatformImage, compression_of
from runbake.verify.files import scanned
from runbake.verify.record import Record, RecordedPlatform
from runbake.verify.verdict import Check

_EVERYTHING = (PurePosixPath(),)
_MOST_NAMED = 5
_MOST_SHOWN = 80
_OURS = ("dev.runbake.", "org.opencontainers.")
"""Labels that are made from the label file; where they differ, it does."""

_MISSING = object()

FetchLayer = Callable[[Descriptor, Path], None]
"""Brings a layer of the image that is in the registry to a path, its digest checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The image that came of it, and each platform's label file, parsed, in the order of the platforms."""

    image: Image
    label_files: tuple[Mapping[str, Any], ...]


def rebuild_checks(record: Record, rebuilt: Rebuilt, fetch: FetchLayer, scratch: Path) -> Iterator[Check]:
    """One check for the whole where the digests are equal; else one for each difference, causes first.

    Raises:
        VerificationFailed: a layer that differs cannot be read.
        RegistryError: one cannot be fetched.
    """
    if not record.key:
        text = "the settings of the build come from a statement that no key given with --key signed"
        yield Check(what="rebuild", outcome="UNSIGNED", text=text)
    if rebuilt.image.digest == record.digest:
        text = f"built again from its record, the image is {record.digest}"
        yield Check(what="rebuild", outcome="ok", text=text)
        return
    text = f"built again from its record, the image is {rebuilt.image.digest}, not {record.digest}"
    yield Check(what="rebuild", outcome="DIFFERS", text=text)
    for was, made, label_file in zip(
        record.platforms, rebuilt.image.platforms, rebuilt.label_files, strict=True
    ):
        if was.digest != made.descriptor.digest:
            for line in _differences(was, made, label_file, fetch, scratch):
                yield Check(what="rebuild", outcome="DIFFERS", text=f"{was.platform}: {line}")


def _differences(
    was: RecordedPlatform,
    made: PlatformImage,
    label_file: Mapping[str, Any],
    fetch: FetchLayer,
    scratch: Path,
) -> Iterator[str]:
    yield from _causes(was.label_file, label_file)
    for position, (before, after) in enumerate(zip_longest(was.layers, made.layers)):
        if after is None:
            yield f"layer {position + 1} ({before.digest[:19]}…) is in the image only"
        elif before is None:
            yield f"layer {after.name} ({after.comment[:100]}) is in the rebuild only"
        elif before.digest != after.blob.digest:
            yield f"layer {after.name}: {_files(before, after, fetch, scratch)}"
    yield from _config(was.config, json.loads(_read(made)))


def _causes(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What the label files say otherwise: another tool first, as it explains whatever follows."""
    before, after = was["tool"]["version"], now["tool"]["version"]
    if before != after:
        yield f"cause: it was built by runbake {before}, this is {after}"
    changed = [each for each in _unequal(was, now) if each[0] != "tool.version"]
    for path, old, new in changed[:_MOST_NAMED]:
        yield f"cause: {path} is {new}, was {old}"
    if len(changed) > _MOST_NAMED:
        yield f"cause: {len(changed) - _MOST_NAMED} more facts of the label file differ"


def _unequal(was: object, now: object, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each leaf that is not the same, with both values as short JSON."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            yield from _unequal(was.get(key, _MISSING), now.get(key, _MISSING), f"{path}.{key}".lstrip("."))
    elif was != now:
        yield path, _short(was), _short(now)


def _short(value: object) -> str:
    text = "missing" if value is _MISSING else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _files(was: Descriptor, made: Layer, fetch: FetchLayer, scratch: Path) -> str:
    """Which files of a layer differ, by name."""
    old, new = scratch / "was", scratch / "made"
    try:
        fetch(was, old)
        with made.blob.open() as source, new.open("wb") as target:
            shutil.copyfileobj(source, target)
        before = _listed(old, was.digest, compression_of(was.media_type))
        after = _listed(new, made.blob.digest, made.compression)
    finally:
        old.unlink(missing_ok=True)
        new.unlink(missing_ok=True)
    lines = [
        f"{path} {_how(before.get(path), after.get(path))}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]
    if not lines:
        return "the same files, with other names of owners, modes or times, or stored in another way"
    more = f", and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    return "; ".join(lines[:_MOST_NAMED]) + more


def _how(before: str | None, after: str | None) -> str:
    if before is None:
        return "is in the rebuild only"
    return "is in the image only" if after is None else "has other content"


def _listed(blob: Path, digest: Digest, compression: str) -> dict[str, str]:
    if compression == "zstd":
        raise VerificationFailed(f"layer {digest} is stored as zstd, which is not compared")
    layer = scanned(blob, digest, is_gzip=compression == "gzip", roots=_EVERYTHING)
    return {f"/{change.path}": change.sha256 or f"is {change.kind}" for change in layer.changes}


def _read(made: PlatformImage) -> bytes:
    with made.config.open() as stream:
        return stream.read()


def _config(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What the configuration says otherwise, beyond the layers and the label that follow from the rest."""
    follow = ("rootfs", "history", "config.Labels")
    changed = [each for each in _unequal(was, now) if not each[0].startswith(follow)]
    for path, old, new in changed[:_MOST_NAMED]:
        yield f"configuration: {path} is {new}, was {old}"
    labels = {path for path, _, _ in _unequal(was["config"].get("Labels"), now["config"].get("Labels"))}
    foreign = sorted(path for path in labels if not path.startswith(_OURS))
    if foreign:
        yield f"configuration: labels differ: {', '.join(foreign[:_MOST_NAMED])}"
