"""A base image's platform and glibc, as uv and as wheel tags spell them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.tags import Tag, compatible_tags, cpython_tags

from runbake.errors import BaseImageError

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_UV_KNOWS = (17, 28, *range(31, 41))
_OLDEST = {"x86_64": 5, "aarch64": 17}
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_UV_PLATFORM = re.compile(r"(?P<machine>x86_64|aarch64)-manylinux_2_(?P<minor>\d+)")
_GLIBC = re.compile(r"2\.(\d+)")


def uv_platform_of(platform: str, glibc: str) -> str:
    """The newest platform that uv knows and this glibc can run, e.g. "x86_64-manylinux_2_36".

    Raises:
        BaseImageError: another machine than amd64 or arm64, or a glibc older than 2.17.
    """
    machine = _MACHINES.get(platform)
    if machine is None:
        raise BaseImageError(
            f"no wheels are installed for {platform!r}", hint=f"choose from {', '.join(sorted(_MACHINES))}"
        )
    match = _GLIBC.match(glibc)
    minors = [minor for minor in _UV_KNOWS if match and minor <= int(match[1])]
    if not minors:
        raise BaseImageError(
            f"the base image's glibc {glibc!r} is older than 2.17, the oldest that wheels are built for",
            hint="choose a newer base image",
        )
    return f"{machine}-manylinux_2_{minors[-1]}"


def target_tags(uv_platform: str, python: str) -> tuple[Tag, ...]:
    """Every wheel tag that the target can install, best first.

    Source: PyPA specification "Platform compatibility tags"; PEP 600.

    Raises:
        ValueError: `uv_platform` is not one that `uv_platform_of` gives.
    """
    major, minor = (int(part) for part in python.split("."))
    platforms = tuple(_platforms(uv_platform))
    interpreter = f"cp{major}{minor}"
    return (
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
    )


def _platforms(uv_platform: str) -> Iterator[str]:
    match = _UV_PLATFORM.fullmatch(uv_platform)
    if match is None:
        raise ValueError(f"not a platform of ours: {uv_platform!r}")
    machine = match["machine"]
    for minor in range(int(match["minor"]), _OLDEST[machine] - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"
    yield f"linux_{machine}"
