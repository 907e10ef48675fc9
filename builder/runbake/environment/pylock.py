"""uv's pylock.toml, read down to what a lock keeps: one wheel per package, by name and hash."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from runbake.environment.lock import LockedWheel
from runbake.errors import LockError, NoWheel

NO_WHEEL_HINT = (
    "choose a version that has a wheel, put a wheel (pip wheel --no-deps -w DIR NAME==VERSION) into a "
    "wheelhouse that uv reads (UV_FIND_LINKS=DIR), or use a base image that brings the package (--base)"
)


def wheels_of(pylock: bytes, tags: Iterable[Tag]) -> tuple[LockedWheel, ...]:
    """The best wheel of every package in the file, sorted by name.

    Raises:
        LockError: the file is not a pylock of version 1.
        NoWheel: a package has no wheel that the target can install, or the index gives no sha256.

    Source: PyPA specification "pylock.toml", version 1.0.
    """
    rank = {tag: number for number, tag in reversed(tuple(enumerate(tags)))}
    try:
        document = tomllib.loads(pylock.decode())
        packages = document["packages"]
        wheels = [_wheel_of(package, rank) for package in packages]
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise LockError(f"uv wrote a lock that cannot be read: {error!r}") from error
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _wheel_of(package: Mapping[str, Any], rank: Mapping[Tag, int]) -> LockedWheel:
    name, version = canonicalize_name(package["name"]), package.get("version", "")
    candidates = []
    for wheel in package.get("wheels", ()):
        file_name = _file_name_of(wheel)
        order = _order_of(file_name, rank)
        if order is not None:
            candidates.append((order, file_name, wheel))
    if not candidates:
        raise NoWheel(f"{name} {version} has no wheel for the target platform", hint=NO_WHEEL_HINT)
    _, file_name, best = min(candidates, key=lambda candidate: candidate[:2])
    sha256 = best.get("hashes", {}).get("sha256", "")
    if not sha256:
        raise NoWheel(
            f"the package index gives no sha256 for {file_name}",
            hint="put the wheel into a wheelhouse that uv reads (UV_FIND_LINKS), or ask the index's owner",
        )
    return LockedWheel(
        name=name,
        version=version,
        file_name=file_name,
        sha256=sha256.lower(),
        size_bytes=int(best.get("size", 0)),
    )


def _file_name_of(wheel: Mapping[str, Any]) -> str:
    where = wheel.get("name") or wheel.get("path") or urlsplit(wheel["url"]).path
    return unquote(str(where)).replace("\\", "/").rsplit("/", 1)[-1]


def _order_of(file_name: str, rank: Mapping[Tag, int]) -> tuple[int, int, str] | None:
    # Of two builds of one wheel the later one counts, as it does for pip.
    try:
        _, _, build, tags = parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        return None
    ranks = [rank[tag] for tag in tags if tag in rank]
    if not ranks:
        return None
    number, text = build or (-1, "")
    return (min(ranks), -number, text)
