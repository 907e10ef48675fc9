"""Installed trees: what differs between two hosts never reaches an entry."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from runbake.environment.lock import LockedWheel
from runbake.environment.tree import entries_of, read_installed
from runbake.errors import ConflictingWheels, LockError
from runbake.image.entry import FileEntry

ROOT = "opt/runbake/site-packages"
PYTHON = "/usr/bin/python3.11"


def wheel(name: str) -> LockedWheel:
    """The locked wheel of this name, version 1.0."""
    return LockedWheel(
        name=name, version="1.0", file_name=f"{name}-1.0-py3-none-any.whl", sha256="0" * 64, size_bytes=1
    )


def hashed(data: bytes) -> str:
    """The hash as RECORD spells it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def put(root: Path, name: str, files: dict[str, bytes], *, mode: int = 0o644, rows: str = "") -> None:
    """Lay out an installed distribution as uv does, with its RECORD; `rows` are added to it."""
    info = f"{name}-1.0.dist-info"
    files = {**files, f"{info}/METADATA": b"Metadata-Version: 2.1\n", f"{info}/INSTALLER": b"uv"}
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(mode | (0o100 if path.startswith("bin/") else 0))
    record = "".join(f"{path},{hashed(data)},{len(data)}\n" for path, data in files.items())
    (root / info / "RECORD").write_text(record + rows + f"{info}/RECORD,,\n")


def shown(entries: tuple[FileEntry, ...]) -> list[tuple[str, bytes, bool]]:
    """The entries with their contents read."""
    return [
        (e.path, e.content if isinstance(e.content, bytes) else e.content.read_bytes(), e.executable)
        for e in entries
    ]


def entries(root: Path, *names: str) -> tuple[FileEntry, ...]:
    """The entries of these wheels, which lie in `root`."""
    wheels = [wheel(name) for name in names]
    return entries_of(read_installed(root, wheels), wheels, interpreter=PYTHON)


def test_an_installed_wheel_becomes_these_entries(tmp_path: Path) -> None:
    """Golden: paths, contents, modes, and a RECORD that says exactly what is there."""
    launcher = b"#!/home/me/.venv/bin/python\n# uv's own words\nfrom demo import main\n"
    put(
        tmp_path,
        "demo",
        {
            "demo/__init__.py": b"x = 1\n",
            "demo/__pycache__/__init__.cpython-311.pyc": b"old",
            "bin/demo": launcher,
            "demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\ndemo = demo:app.main\n",
            "demo-1.0.dist-info/REQUESTED": b"",
            "demo-1.0.dist-info/uv_cache.json": b"{}",
            "demo-1.0.dist-info/direct_url.json": b"{}",
        },
    )
    (tmp_path / ".lock").touch()
    script = (
        b"#!/usr/bin/python3.11\nimport sys\nfrom demo import app\n"
        b'if __name__ == "__main__":\n    sys.exit(app.main())\n'
    )
    record = (
        f"bin/demo,{hashed(script)},{len(script)}\n"
        f"demo-1.0.dist-info/METADATA,{hashed(b'Metadata-Version: 2.1' + bytes([10]))},22\n"
        "demo-1.0.dist-info/RECORD,,\n"
        "demo-1.0.dist-info/entry_points.txt,"
        f"{hashed(b'[console_scripts]' + bytes([10]) + b'demo = demo:app.main' + bytes([10]))},39\n"
        f"demo/__init__.py,{hashed(b'x = 1' + bytes([10]))},6\n"
    )
    assert shown(
        entries_of(read_installed(tmp_path, [wheel("demo")]), [wheel("demo")], interpreter=PYTHON)
    ) == [
        (f"{ROOT}/bin/demo", script, True),
        (f"{ROOT}/demo-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\n", False),
        (f"{ROOT}/demo-1.0.dist-info/RECORD", record.encode(), False),
        (
            f"{ROOT}/demo-1.0.dist-info/entry_points.txt",
            b"[console_scripts]\ndemo = demo:app.main\n",
            False,
        ),
        (f"{ROOT}/demo/__init__.py", b"x = 1\n", False),
    ]


def test_two_hosts_give_equal_entries(tmp_path: Path) -> None:
    """Another interpreter path (with a space: uv starts it through sh) and umask change nothing."""
    scripts = {
        "one": b"#!/usr/local/bin/python3\nprint(1)\n",
        "two": b"#!/bin/sh\n'''exec' '/home/a b/bin/python' \"$0\" \"$@\"\n' '''\nprint(1)\n",
    }
    found = []
    for host, script in scripts.items():
        mode = 0o600 if host == "two" else 0o644
        files = {"demo.py": b"1\n", "bin/demo": script, "bin/sh": b"#!/bin/sh\n"}
        put(tmp_path / host, "demo", files, mode=mode)
        found.append(shown(entries(tmp_path / host, "demo")))
    assert found[0] == found[1]
    contents = {path: data for path, data, _ in found[0]}
    assert contents[f"{ROOT}/bin/demo"] == b"#!/usr/bin/python3.11\nprint(1)\n"
    assert contents[f"{ROOT}/bin/sh"] == b"#!/bin/sh\n"


def test_one_tree_gives_each_group_its_own_files(tmp_path: Path) -> None:
    """Wheels installed together are told apart by their RECORDs; a file without a hash gets one."""
    put(tmp_path, "a", {"ns/a.py": b"a"})
    put(tmp_path, "b", {"ns/b.py": b"b"}, rows="ns/forgotten.py,,\n")
    (tmp_path / "ns/forgotten.py").write_bytes(b"f")
    installed = read_installed(tmp_path, [wheel("a"), wheel("b")])
    names = {entry.path for entry in entries_of(installed, [wheel("b")], interpreter=PYTHON)}
    assert {f"{ROOT}/ns/b.py", f"{ROOT}/ns/forgotten.py"} <= names
    assert f"{ROOT}/ns/a.py" not in names
    contents = {e.path: e.content for e in entries_of(installed, [wheel("b")], interpreter=PYTHON)}
    record = contents[f"{ROOT}/b-1.0.dist-info/RECORD"]
    assert isinstance(record, bytes)
    assert f"ns/forgotten.py,{hashed(b'f')},1\n".encode() in record


def test_one_file_in_two_wheels_must_be_the_same(tmp_path: Path) -> None:
    """An equal file is no conflict; a different one names the path and both wheels."""
    put(tmp_path / "equal", "a", {"ns/__init__.py": b""})
    put(tmp_path / "equal", "b", {"ns/__init__.py": b""})
    installed = read_installed(tmp_path / "equal", [wheel("a"), wheel("b")])
    assert len(entries_of(installed, [wheel("a"), wheel("b")], interpreter=PYTHON)) == 5
    put(tmp_path / "other", "a", {"cv2.py": b"1"})
    put(tmp_path / "other", "b", {"cv2.py": b"2"})
    with pytest.raises(ConflictingWheels, match=r"cv2\.py \(a, b\)"):
        read_installed(tmp_path / "other", [wheel("a"), wheel("b")])


@pytest.mark.parametrize("path", ["../evil.py", "/etc/passwd", "a/../../b", "a\\..\\b", "./a", "a//b"])
def test_a_record_cannot_reach_outside(tmp_path: Path, path: str) -> None:
    """A hostile path in RECORD is refused before any file is opened."""
    put(tmp_path, "demo", {"demo.py": b"1"}, rows=f"{path},,\n")
    with pytest.raises(LockError, match="outside its directory"):
        read_installed(tmp_path, [wheel("demo")])


def test_a_damaged_cache_is_noticed(tmp_path: Path) -> None:
    """A file that is not what RECORD says is an error that says how to empty uv's cache."""
    put(tmp_path, "demo", {"demo.py": b"1"})
    (tmp_path / "demo.py").write_bytes(b"2")
    installed = read_installed(tmp_path, [wheel("demo")])
    with pytest.raises(LockError, match=r"demo\.py of demo is not what") as caught:
        entries_of(installed, [wheel("demo")], interpreter=PYTHON)
    assert "uv cache clean demo" in caught.value.hint


def test_a_missing_file_and_a_link_are_noticed(tmp_path: Path) -> None:
    """RECORD names a file that is not there, or that is a link to somewhere else."""
    put(tmp_path, "demo", {"demo.py": b"1"})
    installed = read_installed(tmp_path, [wheel("demo")])
    (tmp_path / "demo.py").unlink()
    with pytest.raises(LockError, match="cannot be read"):
        entries_of(installed, [wheel("demo")], interpreter=PYTHON)
    (tmp_path / "demo.py").symlink_to("/etc/passwd")
    with pytest.raises(LockError, match="not a regular file"):
        entries_of(installed, [wheel("demo")], interpreter=PYTHON)


def test_a_wheel_that_did_not_arrive_is_noticed(tmp_path: Path) -> None:
    """Every locked wheel must have its dist-info; a broken RECORD is an error too."""
    with pytest.raises(LockError, match="without a demo dist-info"):
        read_installed(tmp_path, [wheel("demo")])
    (tmp_path / "demo-1.0.dist-info").mkdir()
    (tmp_path / "demo-1.0.dist-info/RECORD").write_bytes(b"\xff\xfe")
    with pytest.raises(LockError, match="RECORD of demo"):
        read_installed(tmp_path, [wheel("demo")])
