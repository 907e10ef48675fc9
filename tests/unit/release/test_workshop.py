"""Where wheels are installed: every group gets its files, whatever the store knew before."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from runbake.environment import Lock, LockedWheel, Uv, plan_wheel_groups
from runbake.release.assemble import _layer_of
from runbake.release.trees import Workshop, _wheel_tree
from runbake.store import Store
from tests.unit.samples import a_lock

# Lays out what it is asked for, as uv does, and counts its calls.
PRETENDED_UV = """#!{python}
import pathlib, sys
options = dict(each[2:].split("=", 1) for each in sys.argv if each[:2] == "--" and "=" in each)
pathlib.Path(__file__).with_suffix(".calls").open("a").write("call\\n")
for line in open(options["requirements"]):
    name = line.split("==")[0]
    info = pathlib.Path(options["target"], f"{{name}}-1.0.dist-info")
    info.mkdir(parents=True)
    (info / "METADATA").write_text("")
    (info / "RECORD").write_text(f"{{info.name}}/METADATA,,\\n{{info.name}}/RECORD,,\\n")
"""


def a_workshop(store: Store, scratch: Path, lock: Lock) -> tuple[Workshop, Path]:
    """A workshop without bytecode, and the file in which its uv counts."""
    executable = scratch / "uv"
    scratch.mkdir()
    executable.write_text(PRETENDED_UV.format(python=sys.executable))
    executable.chmod(0o755)
    uv = Uv(executable=executable, python=Path(sys.executable), environment=())
    facts = SimpleNamespace(python_path="/usr/bin/python3", python_version="3.11.2")
    workshop = Workshop(
        SimpleNamespace(  # type: ignore[arg-type]
            request=SimpleNamespace(bytecode=False, whole_wheels=False), served=SimpleNamespace(unpacked=())
        ),
        SimpleNamespace(  # type: ignore[arg-type]
            base=SimpleNamespace(facts=facts, platform="linux/amd64"),
            lock=lock,
            groups=plan_wheel_groups(lock),
        ),
        SimpleNamespace(store=store, uv=uv),  # type: ignore[arg-type]
        scratch,
    )
    return workshop, executable.with_suffix(".calls")


def a_lock_of(*names: str) -> Lock:
    """A lock of large wheels, each of which has a layer of its own."""
    return a_lock(
        wheels=tuple(
            LockedWheel(
                name=name,
                version="1.0",
                file_name=f"{name}-1.0-py3-none-any.whl",
                sha256="1" * 64,
                size_bytes=9_000_000,
            )
            for name in names
        )
    )


def test_groups_that_the_store_knows_have_their_files_all_the_same(tmp_path: Path) -> None:
    """A rendered context wants every group, also those that an earlier build left in the store."""
    store = Store(tmp_path / "store")
    lock = a_lock_of("alpha", "beta", "gamma", "omega")
    earlier, _ = a_workshop(store, tmp_path / "earlier", a_lock_of("beta", "gamma"))
    for group in plan_wheel_groups(a_lock_of("beta", "gamma")):
        _layer_of(_wheel_tree(earlier, group), SimpleNamespace(store=store))  # type: ignore[arg-type]

    workshop, calls = a_workshop(store, tmp_path / "later", lock)
    for group in plan_wheel_groups(lock):
        paths = [entry.path for entry in workshop.entries_of_group(group)]
        assert f"opt/runbake/site-packages/{group.name}-1.0.dist-info/METADATA" in paths
    assert calls.read_text() == "call\n" * 2, "one for what the store lacks, one for the rest"


def test_what_the_store_lacks_is_installed_in_one_call(tmp_path: Path) -> None:
    """A build asks uv once, and not for what is there."""
    store = Store(tmp_path / "store")
    lock = a_lock_of("alpha", "beta", "gamma")
    workshop, calls = a_workshop(store, tmp_path / "scratch", lock)
    for group in plan_wheel_groups(lock):
        _layer_of(_wheel_tree(workshop, group), SimpleNamespace(store=store))  # type: ignore[arg-type]

    assert calls.read_text() == "call\n"
