"""URIs: which files they stand for, and what their folders tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbake_serving.batch.failures import BadSpec, BatchFailure
from runbake_serving.batch.local import LocalInputs, LocalOutput
from runbake_serving.batch.storage import check_outside, fixed_prefix, is_within, partition_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two days with two files each, and what is not to be read."""
    for day in "12":
        for name in ("a.csv", "b.csv", "_hidden.csv", ".x.csv", "_parts/c.csv"):
            path = tmp_path / f"day={day}" / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("day=1/a.csv", ["day=1/a.csv"]),
        ("", ["day=1/a.csv", "day=1/b.csv", "day=2/a.csv", "day=2/b.csv"]),
        ("day=*/", ["day=1/a.csv", "day=1/b.csv", "day=2/a.csv", "day=2/b.csv"]),
        ("*/b.csv", ["day=1/b.csv", "day=2/b.csv"]),
        ("**/a.*", ["day=1/a.csv", "day=2/a.csv"]),
        ("day=[!1]/?.csv", ["day=2/a.csv", "day=2/b.csv"]),
        ("day=1/_hidden.csv", ["day=1/_hidden.csv"]),
    ],
)
def test_a_uri_stands_for_its_files(tree: Path, uri: str, names: list[str]) -> None:
    """In order; hidden ones only where they are named."""
    found = LocalInputs().find(f"{tree}/{uri}")
    assert [Path(one.uri).relative_to(tree).as_posix() for one in found] == names


def test_a_changed_file_is_not_opened(tree: Path) -> None:
    """The fingerprint is of size and edges: no clock is asked."""
    found = LocalInputs().find(f"{tree}/day=1/a.csv")[0]
    LocalInputs().open(found.uri, found.fingerprint).close()
    Path(found.uri).write_text("b.csv")
    with pytest.raises(BatchFailure, match="was changed since the job was planned"):
        LocalInputs().open(found.uri, found.fingerprint)


def test_what_is_not_there_is_named(tree: Path) -> None:
    """A missing file and a glob without matches alike."""
    for uri in ("absent.csv", "absent*"):
        with pytest.raises(BatchFailure, match=r"there is no input at .*absent"):
            LocalInputs().find(f"{tree}/{uri}")


def test_a_name_is_given_once(tmp_path: Path) -> None:
    """The second runner is told so, and the first one's bytes stay, unless they are to be replaced."""
    output = LocalOutput(tmp_path / "out")
    assert output.create("_parts/a.json", b"1")
    assert not output.create("_parts/a.json", b"2")
    assert output.read("_parts/a.json") == b"1"
    assert output.create("_parts/a.json", b"3", replace=True)
    assert output.names("_parts") == {"a.json"}
    assert list(output.scratch.iterdir()) == []


def test_the_scratch_folder_goes_with_the_last_runner(tmp_path: Path) -> None:
    """Who is done first leaves it to the other; what a killed runner left goes too."""
    first, second = (LocalOutput(tmp_path / "out") for _ in range(2))
    writing = second.scratch / "writing"
    writing.touch()
    first.create("a.json", b"1")

    first.leave()
    assert writing.exists()
    assert second.create("b.json", b"2")
    second.leave()
    assert not writing.parent.exists()

    assert first.create("c.json", b"3")


def test_folders_tell_columns_and_globs_begin_somewhere() -> None:
    """`key=value` outermost first; a glob is searched from its last fixed folder."""
    assert partition_of("s3://b/x/day=1/hour=02/a=b.csv") == (("day", "1"), ("hour", "02"))
    assert fixed_prefix("s3://b/x/day=*/h") == "s3://b/x/"
    with pytest.raises(BadSpec, match="lies in the output"):
        check_outside("/out/", ["/out/a"])


@pytest.mark.parametrize(
    ("uri", "folder", "within"),
    [
        ("/d/x", "/d/x/", True),
        ("/d/x/a.csv", "/d/x", True),
        ("/d/xy/a.csv", "/d/x", False),
        ("/d/y/../x/a.csv", "/d/x", True),
        ("s3://b/d/x/a.csv", "s3://b/d/x", True),
        ("s3://b/d/x/a.csv", "/d/x", False),
    ],
)
def test_what_lies_in_a_folder(uri: str, folder: str, within: bool) -> None:
    """Itself, and all below it; not its neighbour with a longer name."""
    assert is_within(uri, folder) is within
