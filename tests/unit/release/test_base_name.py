"""The base image by the model's Python."""

from __future__ import annotations

import pytest

from runbake.errors import InvalidReference
from runbake.registry import ImageRef
from runbake.release.base_name import BaseName, how_to_build


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("h.x/base:{python}", "h.x/base:3.12"),
        ("h.x/python-{python}/base:py{python}", "h.x/python-3.12/base:py3.12"),
        ("h.x/base:1", "h.x/base:1"),
    ],
)
def test_the_place_takes_the_minor_version(text: str, found: str) -> None:
    """`{python}` becomes the model's version wherever it stands; without it there is one base for all."""
    assert str(BaseName.parse(text).for_python("3.12")) == found


@pytest.mark.parametrize("text", ["h.x/base:{version}", "h.x/{python", "h.x/base:{python} ", ""])
def test_what_is_no_reference_is_refused_before_any_run_is_read(text: str) -> None:
    """A pattern that makes no reference fails when it is read."""
    with pytest.raises(InvalidReference):
        BaseName.parse(text)


@pytest.mark.parametrize(
    ("base", "command"),
    [
        ("h.x/base:3.12", "runbake base build h.x/base:3.12 --python 3.12"),
        ("h.x/base:py3.12-a", "runbake base build h.x/base:py3.12-a --python 3.12"),
        ("h.x/base:3.11", "runbake base build h.x/base:3.12 --python 3.12"),
        ("h.x/base", "runbake base build h.x/base:3.12 --python 3.12"),
        (f"h.x/base@sha256:{'a' * 64}", "runbake base build h.x/base:3.12 --python 3.12"),
    ],
)
def test_the_command_makes_a_base_of_the_wanted_python(base: str, command: str) -> None:
    """It keeps a tag that names the version, and never puts one Python under another's tag."""
    assert how_to_build(ImageRef.parse(base), "3.12") == command
