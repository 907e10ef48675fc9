"""A base image out of a registry: its manifest and facts, kept on disk by digest."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from runbake.base.base import Base, BaseLayer, PythonFacts, env_of
from runbake.base.facts import facts_of
from runbake.base.manifest import (
    diff_ids_of,
    listed,
    parts_of_manifest,
    platform_of,
    platforms_of_index,
)
from runbake.base.reader import BaseReader, FetchedManifest
from runbake.base.unpack import apply_layer
from runbake.errors import BaseImageError, BasePlatformMissing, DiskFull
from runbake.image.blob import Digest
from runbake.image.manifest import INDEX_TYPES, MANIFEST_TYPES
from runbake.scratch import scratch_directory

_FACTS_RULES = 1
_CONFIG_LIMIT_BYTES = 4 << 20


def read_base(
    reader: BaseReader, name: str, reference: str, platforms: Iterable[str], cache: Path, *, asked: str = ""
) -> tuple[Base, ...]:
    """The base image for each platform, in the order asked for; unpacked once, then known by digest.

    `name` is the repository as the reader knows it, `reference` a tag or digest, `asked` the whole as the
    user wrote it, for messages. `cache` keeps the unpacked trees; losing it loses time only.

    Raises:
        BasePlatformMissing: the image has no manifest for a platform.
        BaseImageError: the image cannot be used as a base.
        DigestMismatch: a layer is not what the configuration says.
        DiskFull: no room to unpack.
    """
    shown = asked or f"{name}:{reference}"
    wanted = tuple(dict.fromkeys(platforms))
    top = reader.fetch_manifest(name, reference)
    if top.media_type in INDEX_TYPES:
        found = platforms_of_index(top.body, shown)
        _refuse_missing(wanted, found, shown)
        manifests = [reader.fetch_manifest(name, found[platform]) for platform in wanted]
        return tuple(
            _read(reader, name, manifest, top.digest, platform, cache, shown)
            for manifest, platform in zip(manifests, wanted, strict=True)
        )
    platform = _platform_of_single(reader, name, top, shown)
    _refuse_missing(wanted, (platform,), shown)
    return (_read(reader, name, top, None, platform, cache, shown),)


def unpacked_root(base: Base, reader: BaseReader, cache: Path) -> Path:
    """The base's tree on disk, fetched and unpacked if it is not there.

    Raises:
        BaseImageError: a layer cannot be unpacked.
        DigestMismatch: a layer is not what the configuration says.
        DiskFull: no room to unpack.
    """
    root = _home(cache, base.digest) / "root"
    if not root.is_dir():
        _unpack(reader, base.name, base.layers, root, cache)
    return root


def _home(cache: Path, digest: Digest) -> Path:
    return cache / "bases" / digest.hex


def _refuse_missing(wanted: Iterable[str], there: Iterable[str], asked: str) -> None:
    known = tuple(there)
    missing = [platform for platform in wanted if platform not in known]
    if missing:
        raise BasePlatformMissing(
            f"the base image {asked} has nothing for {listed(missing)}; it has {listed(known)}",
            hint="choose --platform among these, or another base image (--base)",
        )


def _platform_of_single(reader: BaseReader, name: str, manifest: FetchedManifest, asked: str) -> str:
    if manifest.media_type not in MANIFEST_TYPES:
        raise BaseImageError(
            f"the base image {asked} is a {manifest.media_type[:100]!r}, which is no image",
            hint="choose another base image (--base)",
        )
    config = _config_of(reader, name, manifest, asked)
    diff_ids_of(config, asked)  # refuses what is no configuration
    return platform_of(json.loads(config))


def _config_of(reader: BaseReader, name: str, manifest: FetchedManifest, asked: str) -> bytes:
    config = parts_of_manifest(manifest.body, asked).config
    return reader.read_blob(name, config.digest, _CONFIG_LIMIT_BYTES)


def _read(
    reader: BaseReader,
    name: str,
    manifest: FetchedManifest,
    index_digest: Digest | None,
    platform: str,
    cache: Path,
    asked: str,
) -> Base:
    home = _home(cache, manifest.digest)
    config = _cached_bytes(home / "config.json") or _config_of(reader, name, manifest, asked)
    layers = _layers_of(manifest, config, asked)
    facts = _cached_facts(home)
    if facts is None:
        root = home / "root"
        if not root.is_dir():
            _unpack(reader, name, layers, root, cache)
        facts = facts_of(root, dict(env_of(json.loads(config))).get("PATH", ""), asked)
        _keep(home / "config.json", config, cache)
        _keep(home / "facts.json", json.dumps({"rules": _FACTS_RULES, **asdict(facts)}).encode(), cache)
    return Base(
        asked=asked,
        name=name,
        digest=manifest.digest,
        index_digest=index_digest,
        platform=platform,
        media_type=manifest.media_type,
        config=config,
        layers=layers,
        facts=facts,
    )


def _layers_of(manifest: FetchedManifest, config: bytes, asked: str) -> tuple[BaseLayer, ...]:
    descriptors, diff_ids = parts_of_manifest(manifest.body, asked).layers, diff_ids_of(config, asked)
    if len(descriptors) != len(diff_ids):
        raise BaseImageError(
            f"the base image {asked} has {len(descriptors)} layers and {len(diff_ids)} diff ids",
            hint="the image is broken: push it again, or choose another (--base)",
        )
    return tuple(
        BaseLayer(descriptor=descriptor, diff_id=diff_id)
        for descriptor, diff_id in zip(descriptors, diff_ids, strict=True)
    )


def _unpack(reader: BaseReader, name: str, layers: Iterable[BaseLayer], root: Path, cache: Path) -> None:
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with scratch_directory(cache) as scratch:
            growing, blob = scratch / "root", scratch / "layer"
            growing.mkdir()
            for layer in layers:
                reader.fetch_blob(name, layer.descriptor, blob)
                apply_layer(blob, layer.diff_id, growing)
                blob.unlink()
            _settle(growing, root)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"no space left to unpack the base image under {root.parent}",
            hint="free some space, or point --cache (RUNBAKE_CACHE) at another device",
        ) from error


def _settle(growing: Path, root: Path) -> None:
    # Two builds may unpack one base at the same moment; the first rename wins and both trees are equal.
    try:
        growing.rename(root)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(growing)


def _cached_bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _cached_facts(home: Path) -> PythonFacts | None:
    try:
        document = json.loads((home / "facts.json").read_bytes())
        with suppress(PermissionError):
            os.utime(home / "facts.json")  # for whoever prunes the cache: it is in use
        return PythonFacts(**document) if document.pop("rules") == _FACTS_RULES else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _keep(path: Path, data: bytes, cache: Path) -> None:
    with scratch_directory(cache) as scratch:
        (scratch / "kept").write_bytes(data)
        (scratch / "kept").replace(path)
