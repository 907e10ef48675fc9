"""pylock.toml: the best wheel of each package, and nothing of where it came from."""

from __future__ import annotations

import pytest

from runbake.environment.platforms import target_tags
from runbake.environment.pylock import wheels_of
from runbake.errors import LockError, NoWheel

TAGS = target_tags("x86_64-manylinux_2_36", "3.11")
SHA = "ab" * 32


def pylock(*files: str, hashes: str = f'sha256 = "{SHA}"') -> bytes:
    """A lock of one package with these wheels, served from a private index."""
    wheels = ", ".join(
        f'{{ url = "https://u:p@index.test/x/{name}", size = 7, hashes = {{ {hashes} }} }}' for name in files
    )
    return f'[[packages]]\nname = "Some.Pkg"\nversion = "1.0"\nwheels = [{wheels}]\n'.encode()


def test_the_most_specific_wheel_wins() -> None:
    """Of several wheels that fit, the order of the target's tags decides, not the order in the file."""
    names = (
        "some_pkg-1.0-py3-none-any.whl",
        "some_pkg-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "some_pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "some_pkg-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
    )
    for order in (names, names[::-1]):
        (wheel,) = wheels_of(pylock(*order), TAGS)
        assert wheel.file_name == names[1]
    assert (wheel.name, wheel.version, wheel.sha256, wheel.size_bytes) == ("some-pkg", "1.0", SHA, 7)


def test_the_later_build_of_one_wheel_wins() -> None:
    """A build number counts as a number: 10 is later than 9."""
    (wheel,) = wheels_of(pylock("some_pkg-1.0-9-py3-none-any.whl", "some_pkg-1.0-10-py3-none-any.whl"), TAGS)
    assert wheel.file_name == "some_pkg-1.0-10-py3-none-any.whl"


def test_a_local_version_is_read_from_an_escaped_url() -> None:
    """`%2B` in a URL is `+` in the file's name."""
    (wheel,) = wheels_of(pylock("some_pkg-1.0%2Bcpu-py3-none-any.whl"), TAGS)
    assert wheel.file_name == "some_pkg-1.0+cpu-py3-none-any.whl"


def test_a_package_without_a_fitting_wheel_is_named_with_the_ways_out() -> None:
    """Wheels for another machine only: the error names the package, the hint a wheelhouse."""
    with pytest.raises(NoWheel, match=r"some-pkg 1\.0") as caught:
        wheels_of(pylock("some_pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"), TAGS)
    assert "UV_FIND_LINKS" in caught.value.hint


def test_a_wheel_without_sha256_is_refused() -> None:
    """An index that gives MD5 only cannot be locked."""
    with pytest.raises(NoWheel, match="no sha256") as caught:
        wheels_of(pylock("some_pkg-1.0-py3-none-any.whl", hashes='md5 = "00"'), TAGS)
    assert "index.test" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[[packages]]\nversion='1'", b"packages = 3"])
def test_something_that_is_no_lock_is_refused(text: bytes) -> None:
    """Garbage from uv is an error of the lock, not a traceback."""
    with pytest.raises(LockError):
        wheels_of(text, TAGS)
