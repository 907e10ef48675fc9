"""runbake.toml: what it may hold, and what it says when it holds anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbake.config import Option, defaults_of, read_config
from runbake.errors import ConfigError

OPTIONS = {
    "containerize": [
        Option(flag="repository", parameter="repository"),
        Option(flag="move-tag", parameter="move_tag"),
        Option(flag="tracking-uri", parameter="tracking_uri"),
        Option(flag="format", parameter="image_format"),
        Option(flag="tag", parameter="tag", many=True),
    ],
    "promote": [Option(flag="tracking-uri", parameter="tracking_uri")],
}


def test_a_table_holds_for_its_command_and_the_top_for_all() -> None:
    """A key before the tables reaches every command that has it; a table's own key wins."""
    document = {"tracking-uri": "a", "containerize": {"tracking-uri": "b", "move-tag": True}}

    assert defaults_of(document, OPTIONS, source="f") == {
        "containerize": {"tracking_uri": "b", "move_tag": True},
        "promote": {"tracking_uri": "a"},
    }


def test_a_setting_reaches_its_parameter() -> None:
    """By the flag's name, whatever the command calls it; one value will do where several may stand."""
    document = {"containerize": {"format": "docker", "tag": "v1"}}
    assert defaults_of(document, OPTIONS, source="f")["containerize"] == {
        "image_format": "docker",
        "tag": ["v1"],
    }
    document = {"containerize": {"tag": ["v1", "v2"]}}
    assert defaults_of(document, OPTIONS, source="f")["containerize"] == {"tag": ["v1", "v2"]}


def test_every_unknown_key_is_named_with_a_suggestion() -> None:
    """A typo is an error that lists all typos, never a default."""
    document = {"traking-uri": "a", "containerise": {}, "containerize": {"move-tags": True}}

    with pytest.raises(ConfigError) as caught:
        defaults_of(document, OPTIONS, source="runbake.toml")
    assert str(caught.value) == (
        "runbake.toml: traking-uri is unknown, did you mean tracking-uri?; "
        "[containerise] is unknown, did you mean [containerize]?; "
        "[containerize] move-tags is unknown, did you mean move-tag?"
    )


def test_a_table_in_the_table_of_a_group_is_checked_likewise() -> None:
    """A typo deep in the file is named with its table."""
    document = {"gocd": {"triggr": {}, "trigger": {"pol": 1}, "urk": 1}}

    with pytest.raises(ConfigError) as caught:
        defaults_of(document, {"gocd": {"trigger": [Option(flag="poll", parameter="poll_s")]}}, source="f")
    assert str(caught.value) == (
        "f: [gocd] urk is unknown; [gocd.triggr] is unknown, did you mean [gocd.trigger]?; "
        "[gocd.trigger] pol is unknown, did you mean poll?"
    )


@pytest.mark.parametrize("text", ["a = ", "\xff", "[a", "a = 1\na = 2"])
def test_a_broken_file_is_an_error_with_its_line(tmp_path: Path, text: str) -> None:
    """What is not TOML is refused by name."""
    path = tmp_path / "runbake.toml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigError, match=r"runbake\.toml is not TOML"):
        read_config(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "none.toml")
