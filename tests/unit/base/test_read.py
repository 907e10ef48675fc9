"""Base images: by digest, for the wanted platforms, with a Python that is known without running it."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from runbake.base import Host, check_base, find_interpreter, read_base
from runbake.errors import (
    BaseImageError,
    BasePlatformMissing,
    BytecodeUnavailable,
    DigestMismatch,
    DiskFull,
    PythonMismatch,
)
from runbake.image.blob import Descriptor, Digest
from tests.unit.base.world import OCI_INDEX, Reader, layer, python_layer

AMD64 = ("linux/amd64",)
HERE = Host(system="Linux", machine="x86_64", search_path="")


def test_a_single_image_is_read_by_digest(tmp_path: Path) -> None:
    """Digest, layers, configuration and the facts of its Python, without running anything."""
    reader = Reader()
    digest = reader.put_image([python_layer(), layer(("opt/x", b"1"))], "12", path="/usr/bin:/bin")
    (base,) = read_base(reader, "debian", "12", AMD64, tmp_path, asked="r.test/debian:12")
    assert (base.digest, base.index_digest, base.platform) == (digest, None, "linux/amd64")
    assert len(base.layers) == 2
    assert base.env == (("PATH", "/usr/bin:/bin"),)
    facts = base.facts
    assert (facts.python_path, facts.python_version, facts.python_minor) == (
        "/usr/bin/python3.11",
        "3.11.2",
        "3.11",
    )
    assert (facts.glibc, facts.os_id, facts.os_version) == ("2.36", "debian", "12")


def test_the_second_reading_downloads_no_layer(tmp_path: Path) -> None:
    """Facts and configuration are kept by digest, also when the unpacked tree is gone."""
    reader = Reader()
    reader.put_image([python_layer()], "12")
    first = read_base(reader, "debian", "12", AMD64, tmp_path)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if "root" in path.parts and path.name != "root":
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    reader.asked.clear()
    assert read_base(reader, "debian", "12", AMD64, tmp_path) == first
    assert reader.asked == {"manifest": 1, "config": 1}


def test_each_platform_of_an_index_in_the_order_asked(tmp_path: Path) -> None:
    """arm64 is found whether the index says v8 or not; the index's digest is kept."""
    reader = Reader()
    images = {
        "linux/amd64": reader.put_image([python_layer()]),
        "linux/arm64/v8": reader.put_image([python_layer("3.11.3")], architecture="arm64"),
    }
    index = reader.put_index("12", images)
    arm, amd = read_base(reader, "debian", "12", ("linux/arm64", "linux/amd64"), tmp_path)
    assert (arm.digest, amd.digest) == (images["linux/arm64/v8"], images["linux/amd64"])
    assert (arm.index_digest, arm.platform, arm.facts.python_version) == (index, "linux/arm64", "3.11.3")


def test_a_missing_platform_lists_what_is_there(tmp_path: Path) -> None:
    """Attestations are no platform; nothing is downloaded."""
    reader = Reader()
    reader.put_index(
        "12", {"linux/amd64": reader.put_image([python_layer()]), "linux/arm/v7": Digest.of(b"")}
    )
    with pytest.raises(BasePlatformMissing, match=r"arm64; it has linux/amd64, linux/arm/v7$"):
        read_base(reader, "debian", "12", ("linux/amd64", "linux/arm64"), tmp_path)
    assert reader.asked == {"manifest": 1}
    reader.put_image([python_layer()], "single")
    with pytest.raises(BasePlatformMissing, match="arm64; it has linux/amd64"):
        read_base(reader, "debian", "single", ("linux/arm64",), tmp_path)


def test_the_models_python_decides_whether_a_base_will_do(tmp_path: Path) -> None:
    """Another minor version is refused by name; the same one passes."""
    reader = Reader()
    reader.put_image([python_layer()], "12")
    (base,) = read_base(reader, "debian", "12", AMD64, tmp_path, asked="r.test/debian:12")
    check_base(base, "3.11", remedy="")
    with pytest.raises(PythonMismatch, match=r"r.test/debian:12 .*3\.11\.2 .*Python 3\.12"):
        check_base(base, "3.12", remedy="make one")


def test_the_image_of_a_model_is_no_base(tmp_path: Path) -> None:
    """Its model and its wheels would lie below the new ones."""
    reader = Reader()
    reader.put_image([python_layer()], "12")
    (base,) = read_base(reader, "debian", "12", AMD64, tmp_path, asked="r.test/wine:1")
    config = {**base.config_json, "config": {"Labels": {"dev.runbake.provenance-digest": "sha256:0"}}}
    model = replace(base, config=json.dumps(config).encode())
    with pytest.raises(BaseImageError, match=r"r\.test/wine:1 is the image of a model"):
        check_base(model, "3.11", remedy="make one")


@pytest.mark.parametrize(
    ("tar", "said", "hint"),
    [
        (layer(("bin/sh", b"\x7fELF")), "no Python", "Dockerfile.base"),
        (layer(("usr/bin/python3", b"#!/bin/sh\n")), "no Python", "Dockerfile.base"),
        (layer(("usr/bin/python3", "-> /usr/bin/python3")), "no Python", "Dockerfile.base"),
        (layer(("usr/bin/python3.11", b"\x7fELF"), ("usr/bin/python3", "-> python3.11")), "told", "CPython"),
        (python_layer(libc=b""), "no glibc", "Debian"),
        (
            layer(
                ("usr/bin/python3.11", b"\x7fELF\0003.11.2\0"),
                ("usr/bin/python3", "-> python3.11"),
                ("lib/ld-musl-x86_64.so.1", b"\x7fELF"),
            ),
            "musl",
            "Debian",
        ),
    ],
)
def test_an_image_that_cannot_be_a_base_says_why(tmp_path: Path, tar: bytes, said: str, hint: str) -> None:
    """No Python, a launcher script, a loop of links, an unknown release, no glibc, musl."""
    reader = Reader()
    reader.put_image([tar], "12")
    with pytest.raises(BaseImageError, match=said) as caught:
        read_base(reader, "debian", "12", AMD64, tmp_path)
    assert hint in caught.value.hint


def test_the_path_of_the_image_decides_which_python(tmp_path: Path) -> None:
    """The first `python3` on the configuration's PATH counts; its release may stand in libpython."""
    reader = Reader()
    own = layer(
        ("usr/local/bin/python3.12", b"\x7fELF small launcher"),
        ("usr/local/bin/python3", "-> python3.12"),
        ("usr/local/lib/libpython3.12.so.1.0", b"\x7fELF\x003.12.7\0"),
    )
    reader.put_image([python_layer(), own], "both")
    reader.put_image([python_layer(), own], "system", path="/usr/bin:/usr/local/bin")
    (both,) = read_base(reader, "python", "both", AMD64, tmp_path)
    (system,) = read_base(reader, "python", "system", AMD64, tmp_path)
    assert (both.facts.python_path, both.facts.python_version) == ("/usr/local/bin/python3.12", "3.12.7")
    assert system.facts.python_version == "3.11.2"


@pytest.mark.parametrize(
    "items",
    [
        (("opt/py/bin/python3", b"\x7fELF\0/opt/py/3.11.7\0"),),
        (("opt/py/bin/python3", b"\x7fELF\0001.3.11.9\0003.11.7\0linux-3.11.8\0"),),
        (
            ("opt/py/bin/python3", b"\x7fELF"),
            ("opt/py/include/python3.11/patchlevel.h", b'#define X\n#define PY_VERSION   "3.11.7"\n'),
        ),
    ],
)
def test_the_release_is_found_where_builds_leave_it(tmp_path: Path, items: tuple[tuple[str, bytes]]) -> None:
    """As the end of a prefix, as a constant among lookalikes, or in the header."""
    reader = Reader()
    reader.put_image([python_layer("3.12.1"), layer(*items)], "12", path="/opt/py/bin")
    (base,) = read_base(reader, "debian", "12", AMD64, tmp_path)
    assert base.facts.python_version == "3.11.7"


def test_documents_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    """More layers than diff ids, an index that is none, a manifest of something else, damaged layers."""
    reader = Reader()
    reader.put_image([python_layer(), layer()], "ids", keep_ids=1)
    reader.put(OCI_INDEX, {"manifests": 3}, "index")
    reader.put("text/plain", {}, "text")
    for tag in ("ids", "index", "text"):
        with pytest.raises(BaseImageError, match="debian"):
            read_base(reader, "debian", tag, AMD64, tmp_path)
    reader.put_image([python_layer()], "damaged")
    reader.blobs.update({d: layer(("x", b"")) for d, data in reader.blobs.items() if data[:2] == b"\x1f\x8b"})
    with pytest.raises(DigestMismatch):
        read_base(reader, "debian", "damaged", AMD64, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.name == "root" or path.name.startswith("tmp-")]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """No space while a layer arrives: an error of its own, and no half-made tree."""

    class Full(Reader):
        def fetch_blob(self, name: str, descriptor: Descriptor, destination: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    reader = Full()
    reader.put_image([python_layer()], "12")
    with pytest.raises(DiskFull, match="no space left"):
        read_base(reader, "debian", "12", AMD64, tmp_path)
    assert not list(tmp_path.rglob("tmp-*"))


def test_the_bases_own_loader_starts_its_python(tmp_path: Path) -> None:
    """On a host of its platform: its ld.so, its libraries, its interpreter, and an environment of its own."""
    reader = Reader()
    reader.put_image([python_layer()], "12")
    (base,) = read_base(reader, "debian", "12", AMD64, tmp_path)
    found = find_interpreter(base, reader, tmp_path, HERE)
    loader, *rest = found.command
    root = loader.removesuffix("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    assert Path(root).is_relative_to(tmp_path)
    assert rest[:2] == ["--inhibit-cache", "--library-path"]
    assert rest[2].split(":")[0] == f"{root}/usr/lib/x86_64-linux-gnu"
    assert rest[3] == f"{root}/usr/bin/python3.11"
    assert dict(found.environment) == {"PYTHONHOME": f"{root}/usr", "PATH": ""}
    assert found.version == "3.11.2"


@pytest.mark.parametrize(("sibling", "works"), [("3.11.2", True), ("3.11.3", False)])
def test_a_sibling_of_the_same_release_compiles_for_another_machine(
    tmp_path: Path, sibling: str, works: bool
) -> None:
    """Bytecode does not know the machine, but it knows the patch release."""
    reader = Reader()
    images = {
        "linux/amd64": reader.put_image([python_layer(sibling)]),
        "linux/arm64": reader.put_image([python_layer("3.11.2")], architecture="arm64"),
    }
    reader.put_index("12", images)
    (base,) = read_base(reader, "debian", "12", ("linux/arm64",), tmp_path)
    if works:
        found = find_interpreter(base, reader, tmp_path, HERE)
        assert images["linux/amd64"].hex in found.command[0]
    else:
        with pytest.raises(BytecodeUnavailable, match="cannot run on Linux x86_64") as caught:
            find_interpreter(base, reader, tmp_path, HERE)
        assert "--no-bytecode" in caught.value.hint


def test_an_emulator_on_the_path_runs_what_this_machine_cannot(tmp_path: Path) -> None:
    """qemu-user in front of the base's own loader; a host that is no Linux needs an engine."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "qemu-x86_64-static").write_bytes(b"")
    (tools / "qemu-x86_64-static").chmod(0o755)
    reader = Reader()
    reader.put_image([python_layer()], "12")
    (base,) = read_base(reader, "debian", "12", AMD64, tmp_path)
    arm = Host(system="Linux", machine="aarch64", search_path=str(tools))
    assert find_interpreter(base, reader, tmp_path, arm).command[0] == str(tools / "qemu-x86_64-static")
    mac = Host(system="Darwin", machine="arm64", search_path=str(tools))
    with pytest.raises(BytecodeUnavailable, match="Darwin"):
        find_interpreter(base, reader, tmp_path, mac)
