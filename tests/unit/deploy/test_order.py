"""What is asked of a deploy is checked before anything is touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.deploy import Door, checked_address, checked_name, environment_of, memory_of
from runbake.errors import ConfigError


@pytest.mark.parametrize("name", ["a", "wine", "wine-2", "x" * 40])
def test_names_that_every_engine_takes(name: str) -> None:
    """Lower-case letters, digits, hyphens."""
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "Wine", "-a", "a-", "a_b", "a/b", "x" * 41, "a\n", "wine-door", "wine-lock", "wine-old-0a1b", "é"],
)
def test_other_names_are_refused(name: str) -> None:
    """Also those that would be taken for a container that a deploy makes beside."""
    with pytest.raises(ConfigError):
        checked_name(name)


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("512m", 512 << 20), ("2G", 2 << 30), (str(64 << 20), 64 << 20)]
)
def test_memory_is_read(text: str, size: int) -> None:
    """As Docker writes it."""
    assert memory_of(text) == size


@pytest.mark.parametrize("text", ["x", "1", "10m", "-1g", "1.5g", "9" * 15 + "g", "\u0661g", "512 m"])
def test_memory_that_makes_no_sense_is_refused(text: str) -> None:
    """No number, or one that no server fits into."""
    with pytest.raises(ConfigError):
        memory_of(text)


def test_variables_come_from_flags_files_and_the_environment() -> None:
    """A flag wins over a file; what comes from a file or from here is told apart as a secret."""
    file = "# comment\n\nA=1\nB=x=y # not a comment\nTOKEN\n"
    found, ours = environment_of(("A=2", "EMPTY="), (file,), {"TOKEN": "hunter2"})

    assert found == {"A": "2", "B": "x=y # not a comment", "TOKEN": "hunter2", "EMPTY": ""}
    assert ours == {"B", "TOKEN"}


@pytest.mark.parametrize(
    "entry",
    [
        "=hunter2",
        "A B=hunter2",
        "MISSING",
        "RUNBAKE_PORT=1",
        "RUNBAKE_UDS=hunter2",
        "RUNBAKE_GRACE_S=hunter2",
        "A=hunter2\0",
    ],
)
def test_wrong_variables_are_refused_and_not_shown(entry: str) -> None:
    """Malformed, without a value, or decided by deploy itself; the message has no value."""
    with pytest.raises(ConfigError) as caught:
        environment_of((entry,), (), {})
    assert "hunter2" not in str(caught.value) + caught.value.hint


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_door_is_read_as_it_is_written(address: object, port: int) -> None:
    """IPv4 and IPv6."""
    text = str(Door(address=str(address), port=port))
    assert str(Door.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "9000", ":9000", "h:", "h:08", "h:٨٠", "h:65536", "h:+1", "h: 1", "h:1\n"]
)
def test_what_is_no_door_is_none(text: str) -> None:
    """A port is written in one way, in ASCII."""
    assert Door.parse(text) is None


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0.0.0.0/0"])
def test_an_address_is_an_address(text: str) -> None:
    """No name: what it stands for may change."""
    with pytest.raises(ConfigError):
        checked_address(text)
