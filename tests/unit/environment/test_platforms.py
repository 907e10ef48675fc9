"""Platforms: from a base image's glibc to uv's word and to wheel tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.environment.platforms import target_tags, uv_platform_of
from runbake.errors import BaseImageError


@pytest.mark.parametrize(
    ("platform", "glibc", "expected"),
    [
        ("linux/amd64", "2.36", "x86_64-manylinux_2_36"),
        ("linux/arm64", "2.34", "aarch64-manylinux_2_34"),
        ("linux/amd64", "2.30", "x86_64-manylinux_2_28"),
        ("linux/amd64", "2.27", "x86_64-manylinux_2_17"),
        ("linux/amd64", "2.43", "x86_64-manylinux_2_40"),
    ],
)
def test_the_platform_is_the_newest_that_uv_knows_and_the_base_can_run(
    platform: str, glibc: str, expected: str
) -> None:
    """A glibc between two that uv knows counts as the older one."""
    assert uv_platform_of(platform, glibc) == expected


@given(st.integers(min_value=17, max_value=99))
def test_the_platform_never_needs_a_newer_glibc_than_the_base_has(minor: int) -> None:
    """Whatever the glibc, the chosen platform's is not newer."""
    assert int(uv_platform_of("linux/amd64", f"2.{minor}").rsplit("_", 1)[1]) <= minor


@pytest.mark.parametrize(
    ("platform", "glibc"), [("linux/s390x", "2.36"), ("linux/amd64", "2.12"), ("linux/amd64", "?")]
)
def test_a_base_that_no_wheel_fits_is_refused(platform: str, glibc: str) -> None:
    """An unknown machine and a glibc older than 2.17 are errors that name themselves."""
    with pytest.raises(BaseImageError, match=platform if "s390x" in platform else "glibc"):
        uv_platform_of(platform, glibc)


def test_tags_are_ordered_from_newest_platform_to_pure_python() -> None:
    """The first tag is the most specific; wheels for other machines and newer glibcs are not in the list."""
    tags = [str(tag) for tag in target_tags("aarch64-manylinux_2_28", "3.12")]
    assert tags[0] == "cp312-cp312-manylinux_2_28_aarch64"
    assert "cp312-abi3-manylinux2014_aarch64" in tags
    assert tags.index("cp312-cp312-manylinux_2_17_aarch64") < tags.index("py3-none-any")
    assert not [tag for tag in tags if "x86_64" in tag or "manylinux_2_29" in tag]


def test_a_platform_that_is_not_ours_is_a_bug() -> None:
    """Only what `uv_platform_of` gives is understood."""
    with pytest.raises(ValueError, match="windows"):
        target_tags("x86_64-pc-windows-msvc", "3.11")
