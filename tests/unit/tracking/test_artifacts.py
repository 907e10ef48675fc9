"""Listings of artifacts: what a store says is checked before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbake.errors import TrackingError, UnsafePath
from runbake.tracking._artifacts import Listed, ProxiedStore, files_in, store_at
from runbake.tracking._door import Door
from runbake.tracking._facts import small_artifact


class OneDirectory:
    """A store whose root holds one file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def list_directory(self, path: str) -> tuple[Listed, ...]:
        """The one file, and nothing below it."""
        return (Listed(name=self._name, is_directory=False, size_bytes=1),) if not path else ()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc/passwd", "a\\b", "a\0", "half \ud800", "x" * 256]
)
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    """No listing has a file written outside the model's directory, or under half a character."""
    with pytest.raises(UnsafePath):
        files_in(OneDirectory(name))  # type: ignore[arg-type]


class AnsweringDoor(Door):
    """A server that answers each listing with the same document."""

    def __init__(self, document: object) -> None:
        super().__init__("http://127.0.0.1:9", timeout_s=1)
        self._document = document

    def request(self, method: str, endpoint: str, **kwargs: Any) -> Any:
        """The answer, which is JSON."""
        return self

    def json(self) -> object:
        """The document."""
        return self._document


@pytest.mark.parametrize(
    "document",
    [
        {"files": [{}]},
        {"files": 1},
        {"files": None},
        {"files": ["x"]},
        {"files": [{"path": "a", "file_size": "?"}]},
    ],
)
def test_a_listing_that_mlflow_does_not_write_is_refused(document: object) -> None:
    """Another server's JSON ends in a message that names the server."""
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        ProxiedStore(AnsweringDoor(document), "1/models").list_directory("")


@pytest.mark.parametrize("location", ["/etc", "file:///etc", "FILE:/etc", "runs:/0/model", "models:/m-1", ""])
def test_a_remote_server_names_no_directory_of_this_machine(location: str) -> None:
    """Else a server could have this machine's files copied into an image; a reference could lead to one."""
    with pytest.raises(TrackingError, match="names no server") as caught:
        store_at(Door("https://mlflow.example.org", timeout_s=1), location)
    assert "--local-artifacts" in caught.value.hint


@pytest.mark.parametrize(
    ("uri", "local_artifacts"),
    [("sqlite:////srv/mlflow.db", False), ("{directory}", False), ("http://127.0.0.1:5000", True)],
)
def test_directories_of_this_machine_are_read_where_they_are_meant(
    uri: str, local_artifacts: bool, tmp_path: Path
) -> None:
    """MLflow on this machine, or the user's word, lets artifacts be read from a directory."""
    door = Door(uri.format(directory=tmp_path), timeout_s=1, local_artifacts=local_artifacts)
    (tmp_path / "MLmodel").write_text("flavors: {}")
    store = store_at(door, f"file://{tmp_path}")
    assert [entry.name for entry in store.list_directory("")] == ["MLmodel"]


def test_an_artifact_that_is_no_text_is_still_told(tmp_path: Path) -> None:
    """Whoever may write to a run writes its locks: one that is no UTF-8 is refused by its reader."""
    (tmp_path / "lock.json").write_bytes(b"{\xff")
    door = Door(str(tmp_path), timeout_s=1)

    assert small_artifact(door, str(tmp_path), "lock.json") == "{\ufffd"
