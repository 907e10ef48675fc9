"""Bytecode on a host that runs no image by itself: compiled in the engine, to the same bytes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.base import ensure_base
from lab.engine import engine as lab_engine
from runbake.base import Base, Host, Interpreter, read_base
from runbake.environment import RemotePython, compile_bytecode
from runbake.errors import BytecodeUnavailable, EngineMissing
from runbake.image import Digest, FileEntry
from runbake.registry import CredentialSource, ImageRef, Registry
from runbake.release.trees import interpreter_of
from runbake.runtime import Engine, EnginePython
from runbake.store import Store

pytestmark = pytest.mark.engine

LINUX = Host(system="Linux", machine="x86_64", search_path="")
MAC = Host(system="Darwin", machine="arm64", search_path="")
SOURCES = {
    "opt/a/__init__.py": b"def f(x, *, y={1, 2, 3}):\n    return [x for _ in (1, 2, 'three')]\n",
    "opt/a/broken.py": b"def f(:\n",
    "opt/a/data.txt": b"no code",
    "opt/a/names.py": "gr\u00f6\u00dfe = frozenset({'b', 'a', 'c'})\n".encode(),
    "opt/a/tests/test_a.py": b"x = 1\n",
}


@pytest.fixture(scope="module")
def reference(registry_address: str) -> ImageRef:
    """The base image, in the registry by digest."""
    return ImageRef.parse(ensure_base(f"{registry_address}/base"))


def python_on(
    host: Host, reference: ImageRef, directory: Path, *, engine: Engine | None
) -> Interpreter | RemotePython:
    """The interpreter that a build on this host takes."""
    registry = Registry(reference.host, credentials=CredentialSource(directory / "none.json"))
    store = Store(directory / "store")
    base = _base(reference, registry, store)

    def prover() -> Any:
        if engine is None:
            raise EngineMissing("no container engine answers")
        return SimpleNamespace(engine=engine, engine_auth=lambda _: None)

    doors: Any = SimpleNamespace(registry=lambda _: registry, store=store, host=host, prover=prover)
    plan: Any = SimpleNamespace(base=reference)
    return interpreter_of(plan, SimpleNamespace(base=base), doors)  # type: ignore[arg-type]


def _base(reference: ImageRef, registry: Registry, store: Store) -> Base:
    assert reference.digest is not None
    digest = Digest(reference.digest)
    return read_base(registry, reference.name, digest, ("linux/amd64",), store.root, asked=str(reference))[0]


def compiled(python: Interpreter | RemotePython, directory: Path) -> dict[str, bytes]:
    """Path and bytes of everything that comes out."""
    directory.mkdir()
    entries = []
    for number, (path, data) in enumerate(SOURCES.items()):
        source = directory / f"source-{number}"
        source.write_bytes(data)
        # Some are files and some are in memory, as wheels and the runtime are.
        entries.append(
            FileEntry.of_bytes(path, data)
            if number % 2
            else FileEntry(path=path, content=source, size_bytes=len(data))
        )
    made = compile_bytecode(entries, python, directory / "bytecode")
    return {
        entry.path: entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
        for entry in made
    }


def test_the_engine_compiles_to_the_same_bytes(reference: ImageRef, tmp_path: Path) -> None:
    """On macOS a build gives the digest that it gives on Linux."""
    here = python_on(LINUX, reference, tmp_path, engine=None)
    there = python_on(MAC, reference, tmp_path, engine=Engine(lab_engine()))

    assert isinstance(here, Interpreter)
    assert isinstance(there, EnginePython)
    native, remote = compiled(here, tmp_path / "here"), compiled(there, tmp_path / "there")
    assert remote == native
    assert sorted(set(remote) - set(SOURCES)) == [
        "opt/a/__pycache__/__init__.cpython-311.pyc",
        "opt/a/__pycache__/names.cpython-311.pyc",
    ]


def test_an_engine_of_another_platform_is_no_help(reference: ImageRef, tmp_path: Path) -> None:
    """On Linux an engine that would fail is not asked: the error names the emulator instead."""
    arm = Host(system="Linux", machine="aarch64", search_path="")
    other: Any = SimpleNamespace(platform="linux/arm64")

    with pytest.raises(BytecodeUnavailable, match="cannot run on Linux aarch64") as caught:
        python_on(arm, reference, tmp_path, engine=other)
    assert "qemu" in caught.value.hint


def test_without_an_engine_the_way_out_is_named(reference: ImageRef, tmp_path: Path) -> None:
    """What cannot be had by either way is the error of the nearer one."""
    with pytest.raises(BytecodeUnavailable, match="cannot run on Darwin arm64") as caught:
        python_on(MAC, reference, tmp_path, engine=None)
    assert "--no-bytecode" in caught.value.hint


def test_a_python_that_does_not_run_in_the_engine_is_named(reference: ImageRef, tmp_path: Path) -> None:
    """An image whose interpreter is not where it was thought: the engine's words, and the way out."""
    there = python_on(MAC, reference, tmp_path, engine=Engine(lab_engine()))
    assert isinstance(there, EnginePython)
    elsewhere = EnginePython(engine=there.engine, image=there.image, path="/none", version="3.11.2")

    with pytest.raises(BytecodeUnavailable, match=r"3\.11\.2 does not run in the engine") as caught:
        compiled(elsewhere, tmp_path / "there")
    assert "--no-bytecode" in caught.value.hint
