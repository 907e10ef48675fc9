"""A model is started only with the files that its label file names, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runbake_serving.errors import StartError
from runbake_serving.label.provenance import provenance_of
from runbake_serving.model.model_files import FileCheck, files_of

FILES = {"MLmodel": b"flavors: {}", "code/a.py": b"", "model.pkl": b"x" * 100_000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A model's directory."""
    for name, body in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(body)
    return tmp_path


def check(root: Path) -> None:
    """Check the directory against the label file of `FILES`."""
    entries = [
        {"path": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "executable": False}
        for name, body in FILES.items()
    ]
    label_file = provenance_of(json.dumps({"model": {"files": entries}}).encode(), "test")
    assert label_file.files is not None
    FileCheck(root, label_file.files, threads=4).wait()


def test_the_very_files(root: Path) -> None:
    """Unchanged files pass, an empty one and one in a folder too."""
    check(root)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda root: (root / "model.pkl").write_bytes(b"x" * 99_999 + b"y"), "model.pkl"),
        (lambda root: (root / "model.pkl").write_bytes(b"x" * 99_999), "model.pkl"),
        (lambda root: (root / "code/a.py").unlink(), "code/a.py"),
        (lambda root: (root / "code/b.py").touch(), "code/b.py"),
        (lambda root: (root / "more").symlink_to("MLmodel"), "more"),
        (lambda root: ((root / "MLmodel").unlink(), (root / "MLmodel").mkdir()), "MLmodel"),
    ],
    ids=["a byte", "shorter", "missing", "extra", "a link", "a directory"],
)
def test_any_change_is_named(root: Path, change: Callable[[Path], object], name: str) -> None:
    """A changed, missing or additional file is an error that names it."""
    change(root)
    with pytest.raises(StartError, match=f"'{name}'"):
        check(root)


def test_label_files_without_files() -> None:
    """A label file that names no files checks nothing; one that names them in another way is an error."""
    assert files_of({"run": {}}) is None
    assert files_of({"model": {"files": []}}) == ()
    for files in ([{}], [1], {"a": 1}, 7):
        with pytest.raises(StartError):
            files_of({"model": {"files": files}})
