"""Requirement lines from strangers."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from runbake.environment.requirements import requirements_of
from runbake.errors import LockError, NoWheel, Unresolvable


def test_plain_requirements_pass_and_comments_go() -> None:
    """Order stays, comments and blank lines go, spelling becomes canonical."""
    lines = ("numpy==1.26.4  # pinned", "", "# note", "pandas [parquet] >=2 ; python_version>'3.8'")
    assert requirements_of(lines, whose="the model") == (
        "numpy==1.26.4",
        'pandas[parquet]>=2; python_version > "3.8"',
    )


@pytest.mark.parametrize("option", ["--extra-index-url", "-f", "--trusted-host", "--pre"])
def test_index_options_are_ignored_aloud(option: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where to look is the user's setting: the option is dropped with a warning that shows no URL."""
    with caplog.at_level(logging.WARNING):
        assert requirements_of((f"{option} https://u:hunter2@index.test/", "six"), whose="it") == ("six",)
    assert option in caplog.text
    assert "index.test" not in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "git+https://u:hunter2@host.test/repo.git",
        "foo @ git+https://u:hunter2@host.test/repo.git",
        "foo @ https://u:hunter2@host.test/foo-1-py3-none-any.whl",
        "foo @ file:///somewhere/foo-1-py3-none-any.whl",
        "/somewhere/foo-1-py3-none-any.whl",
        "./foo",
        "-e .",
        "-e git+ssh://git@host.test/x",
        "foo-1.0.tar.gz",
    ],
)
def test_what_no_index_releases_is_refused_with_a_way_out(line: str) -> None:
    """Directories, URLs and version control: an error that names the wheelhouse and shows no credential."""
    with pytest.raises(NoWheel, match="the model asks for") as caught:
        requirements_of((line,), whose="the model")
    assert "UV_FIND_LINKS" in caught.value.hint
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["not a requirement!!", "-r other.txt", "-c constraints.txt", "six==1 --hash=sha256:0", "a\x00b"],
)
def test_what_is_no_requirement_is_refused(line: str) -> None:
    """Other lines are refused by name rather than guessed at."""
    with pytest.raises(Unresolvable, match="the model asks for"):
        requirements_of((line,), whose="the model")


@given(st.text(max_size=60))
def test_whatever_passes_is_one_requirement_without_a_url(text: str) -> None:
    """No text becomes an option, a path, a URL or a second line for uv."""
    try:
        passed = requirements_of((text,), whose="it")
    except LockError:
        return
    for line in passed:
        assert Requirement(line).url is None
        assert "\n" not in line
        assert line[0].isalnum()
