"""Two hosts, one lock: equal files, and bytecode by the base's own interpreter."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from runbake.base import Base, Host, find_interpreter, read_base
from runbake.environment import LockRequest, Uv, compile_bytecode, compile_lock, entries_of, find_uv, install
from runbake.image.entry import FileEntry
from tests.integration.environment.conftest import MakeWheel
from tests.unit.base.world import Reader

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
REQUEST = LockRequest(
    model_requirements=("httpx", "six"),
    runtime_requirements=("uvicorn",),
    python=MINOR,
    platform="linux/amd64",
    uv_platform="x86_64-manylinux_2_36",
    model_as_of="2026-10-01T00:00:00Z",
    runtime_as_of="2026-11-01T00:00:00Z",
)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def contents(entries: tuple[FileEntry, ...]) -> dict[str, tuple[str, bool]]:
    """Each path with the hash of its bytes and whether it is executable."""
    found = {}
    for entry in entries:
        data = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
        assert len(data) == entry.size_bytes
        found[entry.path] = (hashlib.sha256(data).hexdigest(), entry.executable)
    return found


def test_two_hosts_give_equal_files(uv: Uv, tmp_path: Path, wheelhouse: Path, make_wheel: MakeWheel) -> None:
    """Other umask, interpreter with a space in its path, cache, link mode and directory: equal entries."""
    make_wheel(
        "runbake_test_odd",
        {
            "odd.py": b"1",
            "runbake_test_odd-1.0.data/scripts/odd-script": b"#!python\nprint(1)\n",
            "runbake_test_odd-1.0.data/data/share/odd.txt": b"data",
            "runbake_test_odd-1.0.data/headers/odd.h": b"header",
            "runbake_test_odd-1.0.dist-info/entry_points.txt": b"[console_scripts]\nodd = odd:go.on [x]\n",
        },
    )
    settings = {**dict(uv.environment), "UV_FIND_LINKS": str(wheelhouse)}
    lock = compile_lock(
        replace(REQUEST, model_requirements=(*REQUEST.model_requirements, "runbake-test-odd")),
        uv=find_uv(settings),
    )
    venv.create(tmp_path / "another host/venv", with_pip=False)
    hosts = {
        "one": (0o022, find_uv(settings)),
        "two": (
            0o077,
            replace(
                find_uv({**settings, "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_LINK_MODE": "copy"}),
                python=tmp_path / "another host/venv/bin/python",
            ),
        ),
    }
    found = []
    for name, (mask, its_uv) in hosts.items():
        with umask(mask):
            tree = install(lock.wheels, lock=lock, directory=tmp_path / name, uv=its_uv)
            found.append(contents(entries_of(tree, lock.wheels, interpreter="/usr/bin/python3.11")))
    assert found[0] == found[1]
    names = {path.removeprefix("opt/runbake/site-packages/") for path in found[0]}
    assert {
        "bin/odd",
        "bin/odd-script",
        "share/odd.txt",
        "include/runbake-test-odd/odd.h",
        "bin/uvicorn",
    } <= names
    assert not [n for n in names if n.endswith(("INSTALLER", "REQUESTED", ".lock", ".pyc", "uv_cache.json"))]
    one = (tmp_path / "one/bin/odd").read_bytes(), (tmp_path / "two/bin/odd").read_bytes()
    assert one[0] != one[1]  # the trees themselves do differ: the test can fail


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Reader, Path]:
    """The running Python with its libraries and loader as a base image, read like any other."""
    reader, cache = Reader(), tmp_path_factory.mktemp("bases")
    here = Host(system=platform.system(), machine=platform.machine(), search_path="")
    reader.put_image([running_python_layer()], "here", architecture=here.platform.split("/")[1])
    (found,) = read_base(reader, "python", "here", (here.platform,), cache)
    return found, reader, cache


def running_python_layer() -> bytes:
    """A tar of this interpreter, the libraries that it loads, its loader and its standard library."""
    python, stdlib = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    listed = subprocess.run(["ldd", str(python)], capture_output=True, text=True, check=True).stdout
    libraries = [Path(word) for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(python, f"usr/local/bin/python{MINOR}")
        link = tarfile.TarInfo("usr/local/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, f"python{MINOR}"
        tar.addfile(link)
        for library in libraries:
            folder = "lib64" if library.name.startswith("ld-linux") else "lib/own-linux-gnu"
            tar.add(library.resolve(), f"{folder}/{library.name}")
        for file in sorted((*stdlib.glob("*.py"), *stdlib.glob("encodings/*.py"), *stdlib.glob("json/*.py"))):
            tar.add(file, f"usr/local/lib/python{MINOR}/{file.relative_to(stdlib)}")
        for package in ("importlib", "collections", "re", "lib-dynload"):
            for file in sorted((stdlib / package).glob("**/*.*")):
                if "__pycache__" not in file.parts:
                    tar.add(file, f"usr/local/lib/python{MINOR}/{file.relative_to(stdlib)}")
    return out.getvalue()


def test_the_bases_interpreter_compiles_through_its_own_loader(
    base: tuple[Base, Reader, Path], uv: Uv, tmp_path: Path
) -> None:
    """Its ld.so, libraries and standard library, not the host's; groups apart give the same."""
    image, reader, cache = base
    here = Host(system=platform.system(), machine=platform.machine(), search_path="")
    assert image.facts.python_version == platform.python_version()
    interpreter = find_interpreter(image, reader, cache, here)
    assert str(cache) in interpreter.command[0]
    lock = compile_lock(REQUEST, uv=uv)
    tree = install(lock.wheels, lock=lock, directory=tmp_path / "tree", uv=uv)
    apart: dict[str, tuple[str, bool]] = {}
    for wheel in lock.wheels:
        entries = entries_of(tree, [wheel], interpreter=image.facts.python_path)
        apart |= contents(compile_bytecode(entries, interpreter, tmp_path / wheel.name))
    entries = entries_of(tree, lock.wheels, interpreter=image.facts.python_path)
    together = compile_bytecode(entries, interpreter, tmp_path / "together", processes=3)
    assert contents(together) == apart
    tag = f".{sys.implementation.cache_tag}.pyc"
    compiled = {path.replace("__pycache__/", "").replace(tag, ".py") for path in apart if path.endswith(tag)}
    sources = {entry.path for entry in entries if entry.path.endswith(".py")}
    assert compiled == {path for path in sources if "/tests/" not in path}
    assert compiled < sources


def test_compiled_files_are_used_and_not_checked(
    base: tuple[Base, Reader, Path], uv: Uv, tmp_path: Path
) -> None:
    """Python imports the bytecode even where the source says otherwise: it never looks at the source."""
    image, reader, cache = base
    interpreter = find_interpreter(
        image, reader, cache, Host(system=platform.system(), machine=platform.machine(), search_path="")
    )
    source = FileEntry.of_bytes("site/mod.py", b"VALUE = 'from bytecode'\n")
    (tmp_path / "site").mkdir()
    for entry in compile_bytecode([source], interpreter, tmp_path / "out"):
        data = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
        (tmp_path / entry.path).parent.mkdir(exist_ok=True)
        (tmp_path / entry.path).write_bytes(data)
    (tmp_path / "site/mod.py").write_text("VALUE = 'from source'\n")
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
         "import mod; print(mod.VALUE)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "from bytecode"
