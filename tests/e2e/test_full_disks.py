"""A disk that is full, wherever runbake writes: the place is named, nothing half-written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbake.errors import DiskFull
from tests.e2e.disks import disk_of, grow
from tests.e2e.refusal import QUICKLY, refused, went_well
from tests.e2e.world import World


@pytest.mark.parametrize("name", ["layout", pytest.param("image.tar", marks=pytest.mark.slow)])
def test_the_output_s_disk_is_full(world: World, wine_run: str, tmp_path: Path, name: str) -> None:
    """No part of the output stays, and no tag is set; with more room it is written."""
    with disk_of(tmp_path / "small", "20m") as small:
        command = (wine_run, "--output", str(small / name), *QUICKLY)
        repository = f"{world.registry}/full-{name}"
        refused(
            world, DiskFull, *command, "--repository", repository,
            says=("no space left", str(small / name), "--output"),
        )  # fmt: skip
        assert list(small.iterdir()) == []
        assert world.tags(f"full-{name}") == ()

        grow(small, "500m")
        went_well(world, repository, *command)
        assert [each.name for each in small.iterdir()] == [name]


@pytest.mark.parametrize(
    "size", ["16m", *(pytest.param(size, marks=pytest.mark.slow) for size in ("2m", "120m"))]
)
def test_the_cache_s_disk_is_full(world: World, wine_run: str, tmp_path: Path, size: str) -> None:
    """At the base, while it is unpacked or at the layers: the cache is named, and there is no tag."""
    with disk_of(tmp_path / "cache", size) as cache:
        command = (wine_run, "--cache", str(cache), "--no-bytecode")
        name = f"full-cache-{size}"
        refused(
            world, DiskFull, *command, "--repository", f"{world.registry}/{name}", *QUICKLY,
            says=("no space left", str(cache), "RUNBAKE_CACHE"),
        )  # fmt: skip
        assert world.tags(name) == ()


def test_with_room_in_the_cache_it_goes_on(world: World, wine_run: str, tmp_path: Path) -> None:
    """What the full disk left behind is whole or gone: the same image comes of it as of an empty cache."""
    fresh = went_well(world, f"{world.registry}/fresh", wine_run, "--no-bytecode")
    with disk_of(tmp_path / "cache", "120m") as cache:
        command = (wine_run, "--cache", str(cache), "--no-bytecode")
        refused(world, DiskFull, *command, "--repository", f"{world.registry}/room", *QUICKLY)
        grow(cache, "2g")

        assert went_well(world, f"{world.registry}/room", *command) == fresh
        assert list(cache.glob("tmp-*")) == []


def test_uv_s_cache_is_full(world: World, wine_run: str, tmp_path: Path) -> None:
    """While the requirements are resolved: uv's own variable is in the hint."""
    with disk_of(tmp_path / "uv", "64k") as small:
        refused(
            world, DiskFull, wine_run, "--relock", "--repository", f"{world.registry}/full-uv", *QUICKLY,
            env={"UV_CACHE_DIR": str(small)}, says=("no space left", "UV_CACHE_DIR"),
        )  # fmt: skip
    assert world.tags("full-uv") == ()


def test_uv_s_cache_is_full_of_wheels(world: World, wine_run: str, tmp_path: Path) -> None:
    """While the wheels are installed: the same, and the layers that were made before are kept."""
    with disk_of(tmp_path / "uv", "24m") as small:
        refused(
            world, DiskFull, wine_run, "--repository", f"{world.registry}/full-wheels", *QUICKLY,
            "--cache", str(tmp_path / "cache"), "--no-bytecode",
            env={"UV_CACHE_DIR": str(small)}, says=("no space left", "UV_CACHE_DIR"),
        )  # fmt: skip
    assert world.tags("full-wheels") == ()


def test_there_is_no_room_for_the_report(world: World, wine_run: str, tmp_path: Path) -> None:
    """The image is there and tagged, image.json cannot be written: the message names the option."""
    with disk_of(tmp_path / "small", "4k") as small:
        (small / "filler").write_bytes(b"x" * 4096)
        said = world.run(
            "containerize", wine_run, "--repository", f"{world.registry}/full-report", *QUICKLY,
            "--report", str(small / "image.json"),
        )  # fmt: skip
        assert said.status == DiskFull.exit_code, said.err
        assert "--report" in said.err
        assert [each.name for each in small.iterdir()] == ["filler"]
    assert world.tags("full-report") == (f"run-{wine_run[:12]}",)
