"""A Python of this machine in the place of a base."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from runbake.base import Host, base_here
from runbake.errors import BaseImageError

HOST = Host(system="Linux", machine="x86_64", search_path="")


def test_this_python_tells_what_a_lock_needs() -> None:
    """Its exact release and the C library; it has no layers, as it is no image."""
    found = base_here(Path(sys.executable), HOST)

    assert found.facts.python_version == platform.python_version()
    assert found.facts.glibc == platform.libc_ver()[1]
    assert (found.platform, found.layers) == ("linux/amd64", ())


@pytest.mark.parametrize(
    ("python", "host", "said"),
    [
        ("/bin/false", HOST, "does not say"),
        ("/nowhere/python", HOST, "does not say"),
        (sys.executable, Host(system="Darwin", machine="arm64", search_path=""), "no wheels for Linux"),
    ],
)
def test_what_cannot_stand_in_for_a_base_is_refused(python: str, host: Host, said: str) -> None:
    """With what to do."""
    with pytest.raises(BaseImageError, match=said) as refused:
        base_here(Path(python), host)

    assert "runbake containerize" in refused.value.hint
