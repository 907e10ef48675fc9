"""Bytecode: the same bytes whatever the order, the number of processes and the host's environment."""

from __future__ import annotations

import importlib.util
import marshal
import platform
import sys
import types
from pathlib import Path

import pytest

from runbake.base.interpreter import Interpreter
from runbake.environment.bytecode import bytecode_id, compile_bytecode
from runbake.errors import BytecodeUnavailable, DiskFull
from runbake.image.entry import FileEntry

HERE = Interpreter(command=(sys.executable,), version=platform.python_version())
TAG = sys.implementation.cache_tag
SOURCES = {
    "opt/x/a.py": b"def f(x):\n    return x in {'one', 'two', 'three', 'four'}\n",
    "opt/x/pkg/__init__.py": b"# -*- coding: latin-1 -*-\nname = '\xe9'\n",
    "opt/x/pkg/template.py": b"print 'python 2'\n",
    "opt/x/pkg/nul.py": b"x = '\0'\n",
    "opt/x/pkg/tests/test_a.py": b"1\n",
    "opt/x/data.txt": b"not code",
}


def entries(order: int = 1) -> list[FileEntry]:
    """The sources, forwards or backwards."""
    return [FileEntry.of_bytes(path, data) for path, data in list(SOURCES.items())[::order]]


def compiled(found: tuple[FileEntry, ...]) -> dict[str, bytes]:
    """The .pyc entries and their bytes."""
    return {e.path: e.content.read_bytes() for e in found if isinstance(e.content, Path)}


def test_modules_get_unchecked_bytecode_with_their_path_in_the_image(tmp_path: Path) -> None:
    """PEP 552 header with the source's hash; co_filename is where the file will be; the code runs."""
    found = compiled(compile_bytecode(entries(), HERE, tmp_path))
    data = found[f"opt/x/__pycache__/a.{TAG}.pyc"]
    assert data[:8] == importlib.util.MAGIC_NUMBER + b"\x01\0\0\0"
    assert data[8:16] == importlib.util.source_hash(SOURCES["opt/x/a.py"])
    code = marshal.loads(data[16:])  # noqa: S302 - our own two lines
    assert isinstance(code, types.CodeType)
    assert code.co_filename == "/opt/x/a.py"
    namespace: dict[str, object] = {}
    exec(code, namespace)  # noqa: S102 - our own two lines
    assert callable(namespace["f"])
    assert namespace["f"]("two") is True


def test_tests_and_broken_files_get_none_and_nothing_else_changes(tmp_path: Path) -> None:
    """Python 2 templates and test directories are left as they are, without a word."""
    found = compile_bytecode(entries(), HERE, tmp_path)
    assert set(compiled(found)) == {
        f"opt/x/__pycache__/a.{TAG}.pyc",
        f"opt/x/pkg/__pycache__/__init__.{TAG}.pyc",
    }
    assert {e.path for e in found} - set(compiled(found)) == set(SOURCES)
    assert [e.path for e in found] == sorted(e.path for e in found)
    assert all(e.size_bytes == e.content.stat().st_size for e in found if isinstance(e.content, Path))


def test_order_shards_and_environment_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 files in one process or in three, forwards or backwards, under other PYTHON variables: equal."""
    many = [
        FileEntry.of_bytes(f"opt/m{n}.py", b"def f(a, b=%d):\n    return a in {b, 'x', 'y'}\n" % n)
        for n in range(1000)
    ]
    first = compiled(compile_bytecode(many, HERE, tmp_path / "1", processes=1))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert compiled(compile_bytecode(many[::-1], HERE, tmp_path / "2", processes=3)) == first
    assert len(first) == 1000


def test_an_interpreter_of_another_release_is_refused(tmp_path: Path) -> None:
    """The release decides bytes, so a surprise is an error and not another digest."""
    other = Interpreter(command=HERE.command, version="3.11.99")
    with pytest.raises(BytecodeUnavailable, match=r"3\.11\.99"):
        compile_bytecode(entries(), other, tmp_path)


@pytest.mark.parametrize("command", [("/nonexistent/python",), (sys.executable, "-c", "raise SystemExit(3)")])
def test_an_interpreter_that_does_not_run_names_the_way_out(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The hint is --no-bytecode."""
    with pytest.raises(BytecodeUnavailable) as caught:
        compile_bytecode(entries(), Interpreter(command=command, version="3.11.2"), tmp_path)
    assert "--no-bytecode" in caught.value.hint


def test_a_full_disk_is_not_the_interpreters_fault(tmp_path: Path) -> None:
    """An interpreter that says "no space left" leads to that error."""
    full = Interpreter(
        command=(sys.executable, "-c", "open('/dev/full', 'wb', 0).write(b'x')"), version="3.11.2"
    )
    with pytest.raises(DiskFull, match="no space left"):
        compile_bytecode(entries(), full, tmp_path)


def test_nothing_to_compile_needs_no_interpreter(tmp_path: Path) -> None:
    """A group without Python files does not start one."""
    only = (FileEntry.of_bytes("opt/x/data.txt", b"1"),)
    nowhere = Interpreter(command=("/nonexistent/python",), version="3.11.2")
    assert compile_bytecode(only, nowhere, tmp_path) == only


def test_the_release_is_part_of_the_bytecodes_id() -> None:
    """Layers made by two releases are kept apart."""
    assert bytecode_id("3.11.2") != bytecode_id("3.11.7")
