"""What is left out of well-known wheels is missed by nobody: real wheels, every module imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runbake.environment import Uv, compile_lock, entries_of, install
from runbake.image.entry import FileEntry
from tests.integration.environment.test_lock import REQUEST

WALK = """
import importlib, json, pkgutil, sys, warnings
warnings.simplefilter("ignore")
failed = {}
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + ".", onerror=lambda _: None):
        if "tests" in module.name.split(".") or module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except BaseException as error:
            failed[module.name] = type(error).__name__
print("\\n" + json.dumps(failed))
"""
ARROW = """
import io, pyarrow as pa, pyarrow.compute as pc, pyarrow.csv, pyarrow.dataset as ds, pyarrow.fs as fs
import pyarrow.parquet as pq
table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
pq.write_table(table, "t.parquet", compression="zstd")
assert pq.read_table("t.parquet").equals(table)
assert ds.dataset("t.parquet").to_table(filter=pc.field("a") > 1).num_rows == 2
assert pa.csv.read_csv(io.BytesIO(b"a,b\\n1,2\\n")).num_rows == 1
fs.S3FileSystem(anonymous=True, endpoint_override="http://127.0.0.1:1", region="x")
sink = pa.BufferOutputStream()
with pa.ipc.new_stream(sink, table.schema) as writer:
    writer.write_table(table)
assert pa.ipc.open_stream(sink.getvalue()).read_all().equals(table)
assert table.to_pandas().shape == (3, 2)
"""


@pytest.fixture(scope="module")
def trees(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same wheels trimmed and whole, laid out as in the image."""
    directory = tmp_path_factory.mktemp("trim")
    wanted = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
    request = replace(
        REQUEST, model_requirements=wanted, python=f"{sys.version_info[0]}.{sys.version_info[1]}"
    )
    lock = compile_lock(request, uv=uv)
    installed = install(lock.wheels, lock=lock, directory=directory / "installed", uv=uv)
    for name, whole in (("trimmed", False), ("whole", True)):
        entries = entries_of(installed, lock.wheels, interpreter="/usr/bin/python3", whole=whole)
        lay_out(entries, directory / name)
    root = "opt/runbake/site-packages"
    return directory / "trimmed" / root, directory / "whole" / root


def lay_out(entries: tuple[FileEntry, ...], root: Path) -> None:
    """Link or write each file where it would be in the image."""
    for entry in entries:
        target = root / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry.content, bytes):
            target.write_bytes(entry.content)
        else:
            target.hardlink_to(entry.content)


def asked(tree: Path, program: str, *arguments: str) -> str:
    """What the program prints with this tree as its only site-packages."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *arguments],
        env={"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tree.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("package", ["numpy", "pandas", "pyarrow", "scipy", "sklearn"])
def test_no_module_misses_what_is_left_out(trees: tuple[Path, Path], package: str) -> None:
    """Each module that is there imports as it does in the whole wheel."""
    trimmed, whole = trees
    failed = json.loads(asked(trimmed, WALK, package).splitlines()[-1])
    missing = {name for name in failed if failed[name] in ("ModuleNotFoundError", "ImportError")}
    told = json.loads(asked(whole, WALK, package).splitlines()[-1]) if missing else {}
    assert missing - set(told) <= {"pyarrow.flight"}


def test_arrow_reads_and_writes_what_batch_and_serving_need(trees: tuple[Path, Path]) -> None:
    """Parquet, csv, datasets, streams, compute, pandas and S3 work in the trimmed tree."""
    asked(trees[0], ARROW)


def test_a_fifth_is_saved_and_record_says_what_is_there(trees: tuple[Path, Path]) -> None:
    """At least 80 MB less; every RECORD names exactly the files that are there."""
    trimmed, whole = trees
    sizes = [sum(f.stat().st_size for f in tree.rglob("*") if f.is_file()) for tree in trees]
    assert sizes[1] - sizes[0] > 80e6
    for record in trimmed.glob("*.dist-info/RECORD"):
        paths = [line.rsplit(",", 2)[0].strip('"') for line in record.read_text().splitlines()]
        assert [path for path in paths if not (trimmed / path).is_file()] == []
    assert (whole / "numpy/_core/tests").is_dir()
    assert not (trimmed / "numpy/_core/tests").exists()
