"""`ami bake --local` without a system on the disk: what is refused, and what an ended bake leaves."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab.packages import find_program
from tests.e2e.world import World

DEADLINE_S = 120


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """A disk that nothing boots from."""
    path = tmp_path / "blank.qcow2"
    qemu_img = find_program("qemu-img") or "qemu-img"
    subprocess.run((qemu_img, "create", "-q", "-f", "qcow2", str(path), "64M"), check=True)
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_bake_of_a_disk_that_is_ended_leaves_nothing(
    world: World, wine_image: str, blank: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """While the machine boots: it ends with us, killed or not; the next bake removes its directory."""
    disks = tmp_path / "disks"
    wanted = ("ami", "bake", wine_image, "--local", str(disks), "--source-disk", str(blank), "--volume", "1")
    said: list[str] = []
    with world.popen(*wanted, "--accelerator", "tcg", cwd=tmp_path) as process:
        assert process.stderr is not None
        give_up = threading.Timer(DEADLINE_S, process.terminate)
        give_up.start()
        for line in process.stderr:
            said.append(line)
            if "Waiting for SSH" in line:
                begun = machines_in(disks)
                process.send_signal(number)
                break
        process.communicate()
        give_up.cancel()

    told = "".join(said)
    assert (process.returncode, len(begun)) == (143 if number == signal.SIGTERM else -9, 1), told
    give_up_at = time.monotonic() + DEADLINE_S
    while machines_in(disks):
        assert time.monotonic() < give_up_at
        time.sleep(0.2)
    if number == signal.SIGKILL:
        world.done(*wanted, "--dry-run", cwd=tmp_path)
    assert list(disks.iterdir()) == []


def machines_in(directory: Path) -> list[str]:
    """The command lines of QEMUs whose work lies there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            at = (process / "cwd").readlink()
        except OSError:
            continue  # ended meanwhile
        if b"qemu-system" in command.split(b"\0")[0] and at.is_relative_to(directory):
            found.append(command.decode(errors="replace"))
    return found


def test_a_disk_wants_its_own_options(world: World, wine_image: str, blank: Path, tmp_path: Path) -> None:
    """What belongs to the other place is refused, what is missing named; the plan is the command's output."""
    local = ("ami", wine_image, "--local", str(tmp_path / "disks"))
    for arguments, told in (
        (local, "--source-disk"),
        (
            (*local, "--source-disk", str(blank), "--copy-to", "eu-west-1"),
            "--copy-to does not go with --local",
        ),
        (("ami", wine_image, "--format", "raw"), "--format goes with --local only"),
        (("ami", wine_image), "--region"),
    ):
        said = world.run(*arguments, cwd=tmp_path)
        assert (said.status, told in said.err) == (2, True), said.err
    lost = world.run(*local, "--source-disk", str(tmp_path / "none"), cwd=tmp_path)
    assert (lost.status, "cannot be read" in lost.err) == (111, True), lost.err

    plan = world.done(*local, "--source-disk", str(blank), "--dry-run", cwd=tmp_path)
    assert '"format": "qcow2"' in plan.out
    assert "accepts the plan" in plan.err
