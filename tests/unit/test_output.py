"""Where a document goes that the user named: a regular file appears whole, anything else stays what it is."""

from __future__ import annotations

import os
import re
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runbake.errors import ConfigError
from runbake.output import forget, is_stream, written
from runbake.report import forget_report, write_report

DOCUMENT = {"status": "done"}
TEXT = b'{\n "status": "done"\n}\n'


def report_to(path: Path) -> None:
    """What a command does with `--report`: before its work, and after it."""
    forget_report(path)
    write_report(path, DOCUMENT)


def a_device(path: Path) -> Path:
    """A character device of our own that takes whatever is written: one like /dev/null, else a terminal."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        path.symlink_to(os.ttyname(os.openpty()[1]))
    return path


def test_a_report_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    """A regular file, or one that is not there yet in a directory that is not there yet."""
    for path in (tmp_path / "a" / "new.json", tmp_path / "a" / "new.json"):
        report_to(path)
        assert path.read_bytes() == TEXT
    assert os.listdir(tmp_path / "a") == ["new.json"]


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    """A rename over /dev/null would break the machine for everybody."""
    device = a_device(tmp_path / "null")
    link = tmp_path / "link"
    link.symlink_to("null")

    for path in (device, link):
        report_to(path)

    assert stat.S_ISCHR(device.stat().st_mode)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


def test_a_fifo_hands_the_document_to_its_reader(tmp_path: Path) -> None:
    """`--report >(jq …)` and its like: written into, not replaced."""
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()

    report_to(fifo)
    reader.join(timeout=20)

    assert read == [TEXT]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, there: bool) -> None:
    """Both when the target is there and when it is not yet."""
    target, link = tmp_path / "deep" / "target.json", tmp_path / "link.json"
    target.parent.mkdir()
    link.symlink_to("deep/target.json")
    if there:
        target.write_text("earlier")

    report_to(link)

    assert link.is_symlink()
    assert target.read_bytes() == TEXT
    assert os.listdir(target.parent) == ["target.json"]


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_an_open_descriptor_is_written_into(tmp_path: Path, kind: str) -> None:
    """As /dev/stdout is a link to one: also where it is a file, what stands in it is kept."""
    with (tmp_path / "stdout").open("w+b") as file:
        ends = os.pipe() if kind == "pipe" else (os.dup(file.fileno()), os.dup(file.fileno()))
        os.write(ends[1], b"before\n")
        link = tmp_path / "link"
        link.symlink_to(f"/proc/self/fd/{ends[1]}")

        report_to(link)

        found = os.read(ends[0], 100) if kind == "pipe" else (tmp_path / "stdout").read_bytes()
        for end in ends:
            os.close(end)
    assert found == b"before\n" + TEXT


def _directory(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _block_device(path: Path) -> None:
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 250))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (_directory, "a directory"),
        (_socket, "a socket"),
        # Only root makes one.
        *([(_block_device, "a block device")] if os.geteuid() == 0 else []),
    ],
)
def test_what_cannot_hold_a_document_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], what: str
) -> None:
    """The error comes when an earlier report would be removed, and nothing is touched."""
    monkeypatch.chdir(tmp_path)
    path = Path("target")
    make(path)
    before = path.stat().st_mode

    with pytest.raises(ConfigError, match=f"target is {what}"):
        forget_report(path)
    with pytest.raises(ConfigError, match=f"target is {what}"):
        write_report(path, DOCUMENT)
    assert path.stat().st_mode == before


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    """Never a traceback, never an endless walk."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(ConfigError, match="cannot write"):
        forget_report(tmp_path / "a")


def test_what_fails_half_way_leaves_the_earlier_file(tmp_path: Path) -> None:
    """No half of a file, and nothing beside it."""
    path = tmp_path / "file"
    path.write_text("earlier")

    def fail_half_way() -> None:
        with written(path) as out:
            out.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()

    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_knows_the_name_of_the_half_written_file(tmp_path: Path) -> None:
    """Two writers of one file have names of their own, which nobody can guess; long names are no error."""
    path = tmp_path / ("é" * 120)
    with written(path) as one, written(path) as other:
        one.write(b"one")
        other.write(b"other")
        partial = set(os.listdir(tmp_path))
    assert len(partial) == 2
    assert all(re.fullmatch(r"\.é{40}\.[0-9a-f]{16}", name) for name in partial)
    assert path.read_bytes() == b"one"


def test_forgetting_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    """The first build has no earlier report."""
    forget(tmp_path / "none" / "image.json")
    assert not is_stream(tmp_path / "none")
